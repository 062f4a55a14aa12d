"""Features of a frozen encoder, computed once per medium and kept in memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from mmadapt.data.cache import MemoryCache
from mmadapt.model import MultimodalModel
from mmadapt.types import Features, MediaInputs

Row = dict[str, Features]  # by fusion: what it reads of one sample, each with b = 1


class FeatureMemory:
    """Stands in for `MultimodalModel.encode`: encodes a medium when it is first met.

    It applies to samples whose media are named by `MediaInputs.keys` (files read without any random
    choice) and to encoders that are frozen and not rewritten; all others are encoded every time.
    What is kept is what the fusions read, after their parameter-free `reduce`, in main memory.
    Features may differ from those of another batch in the last bits, as float sums do.

    Args:
        model: whose encoders are remembered.
        budget: bytes to keep.
    """

    def __init__(self, model: MultimodalModel, budget: int) -> None:
        self.model, self.cache = model, MemoryCache(budget)
        self._encode = model.encode

    @contextmanager
    def used(self) -> Iterator[FeatureMemory]:
        """The model reads from memory inside the block."""
        setattr(self.model, "encode", self.encode)  # noqa: B010
        try:
            yield self
        finally:
            del self.model.encode  # type: ignore[method-assign]

    def encode(self, media: Mapping[str, MediaInputs]) -> dict[str, dict[str, Features]]:
        """As `MultimodalModel.encode`."""
        result: dict[str, dict[str, Features]] = {name: {} for name in self.model.fusions}
        for name in self.model.encoders:
            if name not in media:
                continue
            inputs = media[name]
            keys = self._keys(name, inputs)
            if keys is None:
                found = {f: given.get(name) for f, given in self._encode({name: inputs}).items()}
            else:
                found = dict(self._remembered(name, inputs, keys))
            for fusion, features in found.items():
                if features is not None:
                    result[fusion][name] = features
        return result

    def _keys(self, name: str, inputs: MediaInputs) -> list[Hashable | None] | None:
        """What names each sample's media; None for an encoder that has to run every time."""
        given = cast(Any, inputs).get("keys")
        learns = any(p.requires_grad for p in self.model.encoders[name].parameters())
        learns |= any(group.encoder == name for group in self.model.unfrozen)
        if given is None or learns or name in self.model.attachment.rewritten:
            return None
        half = torch.is_autocast_enabled(inputs["values"].device.type)
        return [None if key is None else (name, half, key) for key in given]

    def _remembered(
        self, name: str, inputs: MediaInputs, keys: Sequence[Hashable | None]
    ) -> dict[str, Features]:
        rows: list[Row | None] = [None if key is None else self.cache.get(key) for key in keys]
        first: dict[Hashable, int] = {}
        for b, key in enumerate(keys):
            first.setdefault(b if key is None else key, b)
        missing = [b for b in first.values() if rows[b] is None]
        if missing:
            part = cast(MediaInputs, {key: _rows(value, missing) for key, value in inputs.items()})
            with torch.no_grad():
                encoded = self._encode({name: part})
            for number, b in enumerate(missing):
                row = {f: _row(given[name], number) for f, given in encoded.items() if given}
                rows[b] = row
                self._keep(keys[b], row)
        whole = [
            cast(Row, rows[b] if rows[b] is not None else rows[first[keys[b]]])
            for b in range(len(keys))
        ]
        device = inputs["values"].device
        return {fusion: _stacked([row[fusion] for row in whole], device) for fusion in whole[0]}

    def _keep(self, key: Hashable | None, row: Row) -> None:
        if key is not None:
            kept = {
                fusion: _moved(features, torch.device("cpu")) for fusion, features in row.items()
            }
            self.cache.put(key, kept, sum(map(_nbytes, kept.values())))


def _rows(value: Any, rows: Sequence[int]) -> Any:
    return value[list(rows)] if isinstance(value, Tensor) else value


def _row(features: Features, b: int) -> Features:
    """One sample's share, without the padding that its batch needed."""
    count = max(1, int((features.item[b] >= 0).sum()))
    return replace(
        features,
        levels=tuple(level[b : b + 1, :count].clone() for level in features.levels),
        mask=features.mask[b : b + 1, :count].clone(),
        item=features.item[b : b + 1, :count].clone(),
    )


def _moved(features: Features, device: torch.device) -> Features:
    if features.mask.device == device:
        return features
    return replace(
        features,
        levels=tuple(level.to(device) for level in features.levels),
        mask=features.mask.to(device),
        item=features.item.to(device),
    )


def _nbytes(features: Features) -> int:
    tensors = (*features.levels, features.mask, features.item)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _stacked(rows: Sequence[Features], device: torch.device) -> Features:
    """One batch of rows of unequal lengths; padding is masked and belongs to no file."""
    rows = [_moved(row, device) for row in rows]
    levels = zip(*(row.levels for row in rows), strict=True)
    return replace(
        rows[0],
        levels=tuple(_joined(level, 0) for level in levels),
        mask=_joined([row.mask for row in rows], False),
        item=_joined([row.item for row in rows], -1),
    )


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
