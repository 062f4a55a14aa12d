"""What becomes of a sample on its way to a batch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from mmadapt.errors import MMAdaptError
from mmadapt.types import Features


@dataclass(frozen=True)
class Mark:
    """A pass over a streamed source, from 0, and how many of its samples came before it began."""

    epoch: int = 0
    start: int = 0


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
class Cached:
    """All media that one encoder reads of a sample, by the name of their content in the cache.

    `rows` are the features by fusion, each with b = 1, and `counts` the items of each file; without
    them the media are among the item's own, and their features are to be kept under that name.
    """

    encoder: str
    content: str
    counts: tuple[int, ...] = ()
    rows: Mapping[str, Features] | None = None


@dataclass(frozen=True)
class Item:
    """A sample ready to be collated; `failed` are the samples that it stands in for.

    Where its own prompt was cut, `failed` says so too. `marks` say how far a stream was read.
    """

    index: int
    id: str
    input_ids: np.ndarray
    labels: np.ndarray
    media_positions: np.ndarray
    media: tuple[Medium, ...] = ()
    cached: tuple[Cached, ...] = ()
    failed: tuple[Failed, ...] = ()
    marks: tuple[Mark, ...] | None = None
