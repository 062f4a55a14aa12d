"""What becomes of a sample on its way to a batch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from mmadapt.errors import MMAdaptError

Kind = Literal["unreadable", "too_long", "truncated", "wrong"]


@dataclass(frozen=True)
class Failed:
    """A sample that could not be prepared as it is, and why.

    It is a value because an error raised in a loader worker arrives as a traceback. `kind`: an
    `unreadable` file, `too_long` and to be skipped, `truncated` and used all the same, or `wrong`.
    `others` are the samples that were tried in vain before it.
    """

    index: int
    id: str
    error: MMAdaptError
    kind: Kind = "wrong"
    others: tuple[Failed, ...] = ()


@dataclass(frozen=True)
class Medium:
    """One media file as one encoder reads it: `values` (t, ...) and what is not padding.

    `key` names the content, where no random choice went into it.
    """

    encoder: str
    file: int
    values: Tensor
    mask: Tensor | None = None
    key: Hashable | None = None


@dataclass(frozen=True)
class Item:
    """A sample ready to be collated; `failed` are the samples that it stands in for.

    Where its own prompt was cut, `failed` says so too.
    """

    index: int
    id: str
    input_ids: np.ndarray
    labels: np.ndarray
    media_positions: np.ndarray
    media: tuple[Medium, ...] = ()
    failed: tuple[Failed, ...] = ()
