"""WebDataset shards read from beginning to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from mmadapt.contracts import StreamedSource
from mmadapt.errors import DataError
from mmadapt.types import Sample
from mmadapt_datasets.webdataset import Entry, WebdatasetConfig, members, sample_of


class WebdatasetStream(StreamedSource):
    """Samples of tar shards, whose names alone are read until a sample is wanted.

    The files of a sample must stand together, as the WebDataset format asks.

    Raises:
        DataError: no shard; while reading, one that is damaged, or a sample that lacks a column.
    """

    Config = WebdatasetConfig
    config: WebdatasetConfig

    def __init__(self, config: WebdatasetConfig) -> None:
        super().__init__(config)
        self.files = config.files()

    @property
    def shards(self) -> Sequence[str]:
        """The tar files; the first samples of all count as one shard."""
        if self.config.limit is not None:
            return [self.config.shards]
        return [str(file) for file in self.files]

    def read(self, shard: int) -> Iterator[Entry]:
        """Where the files of each sample lie."""
        if self.config.limit is None:
            return _entries(self.files[shard])
        return islice(chain.from_iterable(map(_entries, self.files)), self.config.limit)

    def sample(self, record: Entry) -> Sample:
        """The sample of an entry."""
        return sample_of(record, self.config.columns)


def _entries(shard: Path) -> Iterator[Entry]:
    """Samples as they come; the names of a shard are kept to notice one that comes again."""
    seen: set[str] = set()
    entry: Entry | None = None
    for name, extension, place in members(shard):
        if entry is None or entry.name != name:
            if entry is not None:
                yield entry
            if name in seen:
                raise DataError(
                    shard,
                    name,
                    "its files do not stand together, so it cannot be streamed; pack the shard in "
                    "the order of names, or leave out `streaming: true`",
                )
            seen.add(name)
            entry = Entry(shard, name)
        entry.add(extension, place)
    if entry is not None:
        yield entry
