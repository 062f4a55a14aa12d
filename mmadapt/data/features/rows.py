"""Features of single samples, cut out of a batch and put together to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmadapt.types import Features

Row = Mapping[str, Features]  # by fusion: what it reads of one sample, each with b = 1


def cut_row(features: Features, b: int, *, varies: bool = False) -> Features:
    """One sample's share, without the items that only its batch needed.

    Args:
        features: of a batch.
        b: the row.
        varies: the number of tokens follows the longest of the batch, so those at the end that are
            masked in every item are cut off too.
    """
    items = max(1, int((features.item[b] >= 0).sum()))
    mask = features.mask[b : b + 1, :items]
    tokens = mask.shape[2]
    if varies:
        seen = mask.any(dim=1)[0].nonzero()
        tokens = int(seen.max()) + 1 if len(seen) else min(1, tokens)
    return replace(
        features,
        levels=tuple(level[b : b + 1, :items, :tokens].clone() for level in features.levels),
        mask=mask[:, :, :tokens].clone(),
        item=features.item[b : b + 1, :items].clone(),
    )


def no_items(features: Features) -> Features:
    """A row of a sample without media, to be stacked with such a row."""
    return replace(
        features,
        levels=tuple(level[:, :0] for level in features.levels),
        mask=features.mask[:, :0],
        item=features.item[:, :0],
    )


def stack_rows(rows: Sequence[Features], device: torch.device) -> Features:
    """One batch of rows of unequal lengths; padding is masked and belongs to no file."""
    rows = [moved(row, device) for row in rows]
    levels = zip(*(row.levels for row in rows), strict=True)
    return replace(
        rows[0],
        levels=tuple(_joined(level, 0) for level in levels),
        mask=_joined([row.mask for row in rows], False),
        item=_joined([row.item for row in rows], -1),
    )


def moved(features: Features, device: torch.device) -> Features:
    """The features on a device."""
    if features.mask.device == device:
        return features
    return replace(
        features,
        levels=tuple(level.to(device, non_blocking=True) for level in features.levels),
        mask=features.mask.to(device, non_blocking=True),
        item=features.item.to(device, non_blocking=True),
    )


def row_bytes(row: Row) -> int:
    """What a row takes in memory."""
    return sum(
        tensor.numel() * tensor.element_size()
        for features in row.values()
        for tensor in (*features.levels, features.mask, features.item)
    )


def to_plain(features: Features) -> dict[str, Any]:
    """A dictionary of tensors, as loaders and trainers pin, send and move them."""
    return dict(vars(features))


def from_plain(values: Mapping[str, Any]) -> Features:
    """What `to_plain` was given."""
    return Features(**values)


def _joined(tensors: Sequence[Tensor], padding: int | bool) -> Tensor:
    """Concatenates along the batch, padding every other dimension to the largest."""
    shapes = [tensor.shape[1:] for tensor in tensors]
    if len(set(shapes)) == 1:
        return torch.cat(list(tensors))
    largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    result = tensors[0].new_full((len(tensors), *largest), padding)
    for b, tensor in enumerate(tensors):
        result[b][tuple(slice(size) for size in tensor.shape[1:])] = tensor[0]
    return result
