"""Streamed samples that are kept as they are read, for whoever needs them by number."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from mmadapt.contracts import Source, StreamedSource
from mmadapt.data.origin import place
from mmadapt.errors import DataError, MMAdaptError
from mmadapt.types import Sample


class Spooled(Source):
    """A streamed source read once, in order, and no further than is asked for.

    Evaluation compares samples and swaps their media, so it needs them more than once. Texts stay
    in memory; encoded media go to a temporary file, which is removed with this object.

    Args:
        source: the samples.
    """

    def __init__(self, source: StreamedSource) -> None:
        super().__init__(source.config)
        self.source = source
        self._rest: Iterator[Sample] | None = None
        self._samples: list[Sample] = []
        self._ids: set[str] = set()
        self._places: list[dict[int, tuple[int, int]]] = []
        self._path: str | None = None

    def count(self, limit: int | None = None) -> int:
        """How many samples there are; no more than `limit` are read.

        Raises:
            DataError: a record is damaged, or has the id of another.
        """
        if self._rest is None:
            self._rest = iter(self.source)
        while limit is None or len(self._samples) < limit:
            try:
                sample = next(self._rest, None)
                if sample is None:
                    break
                self._keep(sample)
            except MMAdaptError as error:  # or the samples would seem to end here
                self._rest = _failing(error)
                raise
        return len(self._samples) if limit is None else min(limit, len(self._samples))

    def __len__(self) -> int:
        return self.count()

    def __getitem__(self, index: int) -> Sample:
        if index >= self.count(index + 1):
            raise IndexError(f"sample {index} of {len(self._samples)}")
        sample = self._samples[index]
        places = self._places[index]
        if not places:
            return sample
        media: list[Any] = [dict(part) for part in sample.get("media") or []]
        with Path(str(self._path)).open("rb") as file:
            for number, (offset, size) in places.items():
                file.seek(offset)
                media[number]["value"] = file.read(size)
        return {**sample, "media": media}

    def __iter__(self) -> Iterator[Sample]:
        index = 0
        while index < self.count(index + 1):
            yield self[index]
            index += 1

    def __getstate__(self) -> dict[str, Any]:
        """For loader workers, who read what is here already."""
        return {**self.__dict__, "_rest": iter(())}

    def _keep(self, sample: Sample) -> None:
        if sample["id"] in self._ids:
            raise DataError(place(sample), None, "has the id of an earlier one; ids must differ")
        self._ids.add(sample["id"])
        media: list[Any] = [dict(part) for part in sample.get("media") or []]
        places = {}
        for number, part in enumerate(media):
            if isinstance(part.get("value"), bytes):
                places[number] = self._written(part.pop("value"))
        self._samples.append({**sample, "media": media} if places else sample)
        self._places.append(places)

    def _written(self, content: bytes) -> tuple[int, int]:
        try:
            if self._path is None:
                handle, self._path = tempfile.mkstemp(prefix="mmadapt-stream-")
                os.close(handle)
                weakref.finalize(self, _remove, self._path, os.getpid())
            with Path(self._path).open("ab") as file:
                offset = file.tell()
                file.write(content)
        except OSError as error:
            reason = error.strerror or error
            raise MMAdaptError(
                f"{tempfile.gettempdir()} has no room for the media of a streamed source ({reason})"
                "; set TMPDIR to a larger folder, or give the source a `limit`"
            ) from error
        return offset, len(content)


def _failing(error: MMAdaptError) -> Iterator[Sample]:
    """An iterator that raises an error whenever it is asked."""
    return iter(partial(_raise, error), None)


def _raise(error: MMAdaptError) -> Sample:
    raise error


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a loader worker
        with suppress(OSError):
            Path(path).unlink()
