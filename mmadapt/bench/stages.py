"""What preparing a sample spends its time on: clocks around the parts of a data set."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mmadapt.data.dataset import MediaDataset
from mmadapt.data.media.reader import Reader

RECORD, TEXT, READ, TRANSFORM, COLLATE, REST = STAGES = (
    "record",
    "text",
    "read",
    "transform",
    "collate",
    "rest",
)


@dataclass
class Stages:
    """Seconds by stage, and what was read in them.

    A stage that another one lies in counts without it: `read` (opening and decoding, in the reader
    process) lies in what a processor does, the rest of which is `transform`.

    Attributes:
        seconds: by stage.
        samples: whose text was made.
        media_bytes: of the encoded media.
        items: frames, pictures and segments.
    """

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    samples: int = 0
    media_bytes: int = 0
    items: int = 0
    _open: list[str] = field(default_factory=list)
    _since: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the time of a block."""
        self._switch(push=name)
        try:
            yield
        finally:
            self._switch(push=None)

    def _switch(self, push: str | None) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now
        if push is None:
            self._open.pop()
        else:
            self._open.append(push)

    def clocked(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose time counts."""

        def timed(*args: Any, **options: Any) -> Any:
            with self.stage(name):
                return function(*args, **options)

        return timed


class _Through:
    """Another object, with something of its own."""

    def __init__(self, inner: Any, **own: Any) -> None:
        self._inner = inner
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Records(_Through):
    """A source whose records are clocked."""

    def __len__(self) -> int:
        return len(self._inner)

    def __getitem__(self, index: int) -> Any:
        return self.record(index)


class _Head(_Through):
    """A head that is clocked."""

    def encode(self, *args: Any, **options: Any) -> Any:
        stages: Stages = self.stages
        stages.samples += 1
        with stages.stage(TEXT):
            return self._inner.encode(*args, **options)


class _Processor(_Through):
    """A processor that is clocked, and that counts what it is given and gives."""

    def __call__(self, part: Any, rng: Any) -> Any:
        stages: Stages = self.stages
        value = part.get("value")
        if isinstance(value, bytes):
            stages.media_bytes += len(value)
        elif part.get("path") and os.path.isfile(part["path"]):
            stages.media_bytes += os.path.getsize(part["path"])
        with stages.stage(TRANSFORM):
            result = self._inner(part, rng)
        stages.items += len(result[0] if isinstance(result, tuple) else result)
        return result


@contextmanager
def clocked(dataset: Any) -> Iterator[Stages]:
    """Clocks what a data set does in this process, for as long as the context lasts.

    Args:
        dataset: a `MediaDataset`, or a `StreamedDataset`, whose records are not told apart.
    """
    stages = Stages()
    inner: Any = dataset if isinstance(dataset, MediaDataset) else dataset.preparer
    kept = inner.source, inner.head, inner.processors
    read = Reader.read
    source, head, processors = kept
    if inner is dataset:
        inner.source = _Records(source, record=stages.clocked(RECORD, source.__getitem__))
    inner.head = _Head(head, stages=stages)
    inner.processors = {
        name: (modality, _Processor(processor, stages=stages))
        for name, (modality, processor) in processors.items()
    }
    Reader.read = _timed_method(stages, read)  # type: ignore[method-assign]
    try:
        yield stages
    finally:
        inner.source, inner.head, inner.processors = kept
        Reader.read = read  # type: ignore[method-assign]


def _timed_method(stages: Stages, read: Callable[..., Any]) -> Any:
    def timed(reader: Reader, *args: Any, **options: Any) -> Any:
        with stages.stage(READ):
            return read(reader, *args, **options)

    return timed
