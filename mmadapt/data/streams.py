"""The order in which training meets streamed samples: endless, and a function of the seed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from mmadapt.contracts import Source, StreamedSource
from mmadapt.data.items import Mark
from mmadapt.errors import DataError, RecipeError
from mmadapt.types import Sample

T = TypeVar("T")
_BLOCK = 1024  # draws of a mixture's parts that are made at once
_CHOICES = 2**32 - 1  # stands where an order has the number of a part


@dataclass(frozen=True)
class Drawn:
    """A sample on its way to a batch.

    Args:
        epoch: the pass over its part.
        index: tells it from all others, in every pass the same: the part, the shard and the place.
        load: makes the sample.
        marks: the pass that each part of the mixture is in.
    """

    epoch: int
    index: int
    load: Callable[[], Sample]
    marks: tuple[Mark, ...]


class Counted(StreamedSource):
    """A source that can be counted as a part of a mixture with streamed ones.

    Args:
        source: it is gone through in a new random order each time.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source.config)
        self.source, self.length = source, len(source)

    @property
    def shards(self) -> Sequence[str]:
        """One."""
        return [type(self.source).__name__]

    def read(self, shard: int) -> Iterator[int]:
        """The numbers of the samples."""
        yield from range(len(self.source))

    def sample(self, record: int) -> Sample:
        """The sample of a number."""
        return self.source[record]


class StreamedMixture(StreamedSource):
    """Several sources, some of them streamed, each with its share of the samples.

    Args:
        sources: the parts.
        weights: their shares, in any unit.

    Raises:
        RecipeError: there are no weights, and nothing else could tell the shares.
    """

    def __init__(
        self, sources: Sequence[Source | StreamedSource], weights: Sequence[float] | None
    ) -> None:
        super().__init__(None)
        if weights is None:
            raise RecipeError(
                "data.train mixes streamed sources, whose sizes are not known; give every source a "
                "weight, e.g. `weight: 1`, or leave out `streaming: true`"
            )
        self.weights = weights
        self.sources = [Counted(part) if isinstance(part, Source) else part for part in sources]
        self._places = [(n, k) for n, part in enumerate(self.sources) for k in _shards(part)]

    @property
    def shards(self) -> Sequence[str]:
        """Those of all parts."""
        return [self.sources[part].shards[shard] for part, shard in self._places]

    def read(self, shard: int) -> Iterator[tuple[int, Any]]:
        """Records with the number of their part."""
        part, own = self._places[shard]
        return ((part, record) for record in self.sources[part].read(own))

    def sample(self, record: tuple[int, Any]) -> Sample:
        """The sample of a part's record."""
        return self.sources[record[0]].sample(record[1])


@dataclass(frozen=True)
class Stream:
    """Sample after sample, without end.

    A part begins anew, in a new order, when it is through. An order is a function of the seed, the
    part and the pass: shards come in a random order, and their samples go through a buffer out of
    which they are drawn at random.

    Args:
        source: read in shards; a mixture's parts are drawn by their weights.
        seed: of all orders.
        buffer: samples to draw from; 0 keeps the source's own order, that of the shards too.
    """

    source: StreamedSource
    seed: int = 0
    buffer: int = 0

    @property
    def parts(self) -> Sequence[StreamedSource]:
        """What is mixed, or the source alone."""
        return self.source.sources if isinstance(self.source, StreamedMixture) else [self.source]

    def samples(self, begin: int = 0, marks: Sequence[Mark] = ()) -> Iterator[Drawn]:
        """All samples from number `begin` on.

        Args:
            begin: how many are passed over, which reads their records and nothing else.
            marks: those of a sample before, which spare reading what came before them.

        Raises:
            DataError: a part holds no sample, or a shard is damaged.
        """
        now = list(marks) or [Mark()] * len(self.parts)
        chosen = self._choices()
        done = np.bincount(list(islice(chosen, begin)), minlength=len(now)).tolist()
        endless = [self._part(number, mark) for number, mark in enumerate(now)]
        for part, mark in enumerate(now):
            for seen, _, _ in islice(endless[part], done[part] - mark.start):
                now[part] = seen
        for part in chosen:
            now[part], index, load = next(endless[part])
            yield Drawn(now[part].epoch, index, load, tuple(now))

    def _choices(self) -> Iterator[int]:
        """Which part each sample is of."""
        count, block = len(self.parts), 0
        weights = self.source.weights if isinstance(self.source, StreamedMixture) else [1.0]
        shares = np.asarray(weights, np.float64) / np.sum(weights)
        while True:
            rng = np.random.default_rng([self.seed, _CHOICES, block])
            yield from rng.choice(count, _BLOCK, p=shares).tolist()
            block += 1

    def _part(self, number: int, mark: Mark) -> Iterator[tuple[Mark, int, Callable[[], Sample]]]:
        source, count = self.parts[number], mark.start
        while True:
            for index, record in self._pass(number, mark.epoch):
                yield mark, index, partial(source.sample, record)
                count += 1
            if count == mark.start:
                raise DataError(source.shards[0], None, "holds no samples")
            mark = Mark(mark.epoch + 1, count)

    def _pass(self, number: int, epoch: int) -> Iterator[tuple[int, Any]]:
        """One pass over a part: each record once, with its index."""
        source = self.parts[number]
        rng = np.random.default_rng([self.seed, number, epoch])
        if isinstance(source, Counted) and self.buffer:
            order = rng.permutation(len(source.source)).tolist()
            return ((_index(number, 0, record), record) for record in order)
        shards: Iterable[int] = _shards(source)
        if self.buffer:
            shards = rng.permutation(len(source.shards)).tolist()
        records = (
            (_index(number, shard, place), record)
            for shard in shards
            for place, record in enumerate(source.read(shard))
        )
        return shuffled(records, self.buffer, rng)


def shuffled(items: Iterable[T], size: int, rng: np.random.Generator) -> Iterator[T]:
    """Items drawn at random out of a buffer of `size`, which is filled up after each; 0: in order.

    Example:
        >>> list(shuffled("abc", 0, np.random.default_rng(0)))
        ['a', 'b', 'c']
    """
    buffer: list[T] = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
            continue
        if size:
            place = int(rng.integers(size))
            buffer[place], item = item, buffer[place]
        yield item
    yield from (buffer[place] for place in rng.permutation(len(buffer)).tolist())


def _shards(source: StreamedSource) -> range:
    return range(len(source.shards))


def _index(part: int, shard: int, place: int) -> int:
    """A number of over 32 bits, so that what is drawn for it is drawn for no other key."""
    return ((part << 20 | shard) + 1) << 32 | place
