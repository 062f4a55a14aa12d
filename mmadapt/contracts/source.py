"""Source: reads one dataset format, by number or in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from mmadapt.types import Sample


class Source(ABC):
    """A finite sequence of samples, built from the class's own `Config`."""

    Config: ClassVar[type[BaseModel]]

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def build(cls, config: Any) -> Source | StreamedSource:
        """The source of some options; one that can also be streamed chooses here."""
        return cls(config)

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`; must not depend on what was read before."""

    def __iter__(self) -> Iterator[Sample]:
        """All samples in order."""
        return (self[index] for index in range(len(self)))


class StreamedSource(ABC):
    """Samples that can only be read in order, shard by shard, and need not be counted.

    Every process reads the records of all shards and makes samples of its own share alone, so
    `read` should do as little as it can and leave what is costly to `sample`. Nothing is read
    before `read` is called.

    Example:
        class Lines(StreamedSource):
            Config = LinesConfig

            @property
            def shards(self):
                return self.config.files

            def read(self, shard):
                yield from open(self.shards[shard])

            def sample(self, record):
                return {"id": record, "target": record}
    """

    Config: ClassVar[type[BaseModel]]
    length: int | None = None
    """Number of samples, where it is known without reading them."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def build(cls, config: Any) -> Source | StreamedSource:
        """The source of some options."""
        return cls(config)

    @property
    @abstractmethod
    def shards(self) -> Sequence[str]:
        """Names of the shards, files for instance, at least one."""

    @abstractmethod
    def read(self, shard: int) -> Iterator[Any]:
        """The records of one shard, in the same order whenever they are read.

        Raises:
            DataError: the shard is damaged; it names the shard and the record.
        """

    @abstractmethod
    def sample(self, record: Any) -> Sample:
        """The sample of one record; called for those alone that this process uses.

        Raises:
            DataError: the record cannot be used; it names the shard and the record.
        """

    def __iter__(self) -> Iterator[Sample]:
        """All samples in order."""
        for shard in range(len(self.shards)):
            for record in self.read(shard):
                yield self.sample(record)
