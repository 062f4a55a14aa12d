"""Long media in pieces: an encoder never runs more than some items of each sample at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from mmadapt.contracts import Encoder
from mmadapt.types import Features, MediaInputs


def pieces(encoder: Encoder, inputs: MediaInputs) -> Iterator[MediaInputs]:
    """Inputs (b, t, ...) as they go through an encoder: at most `items_at_once` of t together.

    With gradients the whole has to be kept anyway, and shards run equally often everywhere.
    """
    size, items = encoder.items_at_once, inputs["item"].shape
    sharded = any(isinstance(module, FSDPModule) for module in encoder.modules())
    if size is None or items[1] <= size or sharded or torch.is_grad_enabled():
        yield inputs
        return
    for first in range(0, items[1], size):
        yield cast(
            MediaInputs,
            {key: _cut(value, items, first, size) for key, value in inputs.items()},
        )


def joined(parts: Sequence[Features]) -> Features:
    """The features of pieces, behind one another."""
    if len(parts) == 1:
        return parts[0]
    levels = zip(*(part.levels for part in parts), strict=True)
    return replace(
        parts[0],
        levels=tuple(torch.cat(level, dim=1) for level in levels),
        mask=torch.cat([part.mask for part in parts], dim=1),
        item=torch.cat([part.item for part in parts], dim=1),
    )


def _cut(value: Any, items: torch.Size, first: int, size: int) -> Any:
    is_of_items = isinstance(value, Tensor) and value.shape[:2] == items
    return value[:, first : first + size] if is_of_items else value
