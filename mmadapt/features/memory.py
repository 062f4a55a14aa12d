"""Features of a frozen encoder, computed once per medium and kept in memory, or on disk too."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from mmadapt.data.cache import MemoryCache
from mmadapt.data.features.rows import Row, cut_row, from_plain, moved, row_bytes, stack_rows
from mmadapt.features.resting import RestingEncoder
from mmadapt.model import MultimodalModel
from mmadapt.types import Features, MediaInputs

if TYPE_CHECKING:
    from mmadapt.features.cache import FeatureCache


class FeatureMemory:
    """Stands in for `MultimodalModel.encode`: encodes a medium when it is first met.

    It applies to samples whose media are named by `MediaInputs.keys` (files read without any random
    choice) and to encoders that are frozen and not rewritten; all others are encoded every time.
    What is kept is what the fusions read, after their parameter-free `reduce`, in main memory.
    Features may differ from those of another batch in the last bits, as float sums do.

    Args:
        model: whose encoders are remembered.
        budget: bytes to keep.
        disk: where features are kept beyond this process; None for nowhere.
    """

    def __init__(
        self, model: MultimodalModel, budget: int, disk: FeatureCache | None = None
    ) -> None:
        self.model, self.cache, self.disk = model, MemoryCache(budget), disk
        self._encode = model.encode
        self._resting: dict[str, RestingEncoder] = {}

    @contextmanager
    def used(self) -> Iterator[FeatureMemory]:
        """The model reads from memory inside the block."""
        setattr(self.model, "encode", self.encode)  # noqa: B010
        try:
            yield self
        finally:
            del self.model.encode  # type: ignore[method-assign]
            for resting in self._resting.values():
                resting.wake()
            self._resting.clear()
            if self.disk is not None:
                self.disk.close()

    def encode(self, media: Mapping[str, MediaInputs]) -> dict[str, dict[str, Features]]:
        """As `MultimodalModel.encode`."""
        result: dict[str, dict[str, Features]] = {name: {} for name in self.model.fusions}
        for name in self.model.encoders:
            if name not in media:
                continue
            inputs: Any = media[name]
            found: Mapping[str, Features | None]
            if "values" not in inputs:
                found = _whole(inputs, self.model.device)
                self._rest(name)
            elif (keys := self._keys(name, inputs)) is None:
                found = {f: given.get(name) for f, given in self._run(name, inputs).items()}
            else:
                found = self._remembered(name, inputs, keys)
            for fusion, features in found.items():
                if features is not None:
                    result[fusion][name] = features
        return result

    def _keys(self, name: str, inputs: MediaInputs) -> list[Hashable | None] | None:
        """What names each sample's media; None for an encoder that has to run every time."""
        given = cast(Any, inputs).get("keys")
        if given is None or self.changes(name):
            return None
        half = torch.is_autocast_enabled(inputs["values"].device.type)
        return [None if key is None else (name, half, key) for key in given]

    def changes(self, name: str) -> bool:
        """Whether an encoder trains, will train, or was edited by a fusion."""
        learns = any(p.requires_grad for p in self.model.encoders[name].parameters())
        learns |= any(group.encoder == name for group in self.model.unfrozen)
        return learns or name in self.model.attachment.rewritten

    def _remembered(
        self, name: str, inputs: Any, keys: Sequence[Hashable | None]
    ) -> dict[str, Features]:
        rows: list[Row | None] = [None if key is None else self.cache.get(key) for key in keys]
        if "features" in inputs:
            whole = _whole(inputs, inputs["values"].device)
            for number, b in enumerate(inputs["features"]["rows"]):
                rows[b] = {fusion: cut_row(given, number) for fusion, given in whole.items()}
        first: dict[Hashable, int] = {}
        for b, key in enumerate(keys):
            if rows[b] is None:
                first.setdefault(b if key is None else key, b)
        missing = list(first.values())
        if not missing:
            self._rest(name)
        else:
            contents = inputs.get("contents") or [None] * len(keys)
            for b, row in zip(missing, self._encoded(name, inputs, missing), strict=True):
                rows[b], on_disk = row, False
                if self.disk is not None and contents[b] is not None:
                    rows[b], on_disk = self.disk.keep(name, contents[b], row, inputs["item"][b])
                if not on_disk:
                    self._keep(keys[b], row)
        joined = [
            row if row is not None else cast(Row, rows[first[keys[b]]])
            for b, row in enumerate(rows)
        ]
        device = inputs["values"].device
        return {fusion: stack_rows([row[fusion] for row in joined], device) for fusion in joined[0]}

    def rest(self) -> None:
        """Moves the encoders away as the first batch without them would."""
        for name in self.model.encoders:
            self._rest(name)

    def _rest(self, name: str) -> None:
        """A batch that needs no encoder; where features are on disk, it may leave the GPU."""
        if self.disk is None or self.changes(name):
            return
        if name not in self._resting:
            self._resting[name] = RestingEncoder(self.model.encoders[name])
        self._resting[name].unused()

    def _run(self, name: str, inputs: MediaInputs) -> dict[str, dict[str, Features]]:
        if name in self._resting:
            self._resting[name].wake()
        return self._encode({name: inputs})

    def _encoded(self, name: str, inputs: Any, missing: Sequence[int]) -> Iterator[Row]:
        """Runs the encoder on some samples."""
        part = cast(MediaInputs, {key: _rows(value, missing) for key, value in inputs.items()})
        with torch.no_grad():
            encoded = self._run(name, part)
        varies = self.model.encoders[name].grid is None
        for number in range(len(missing)):
            yield {
                fusion: cut_row(given[name], number, varies=varies)
                for fusion, given in encoded.items()
                if given
            }

    def _keep(self, key: Hashable | None, row: Row) -> None:
        if key is not None and self.cache.used < self.cache.budget:
            kept = {f: moved(features, torch.device("cpu")) for f, features in row.items()}
            self.cache.put(key, kept, row_bytes(kept))


def _whole(inputs: Any, device: torch.device) -> dict[str, Features]:
    """The features that came with a batch instead of media."""
    given = inputs["features"]["fusions"]
    return {fusion: moved(from_plain(values), device) for fusion, values in given.items()}


def _rows(value: Any, rows: Sequence[int]) -> Any:
    return value[list(rows)] if isinstance(value, Tensor) else value
