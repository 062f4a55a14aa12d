"""Streamed samples as one process of a training meets them: its share, prepared."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from mmadapt.contracts import Head, Processor, StreamedSource
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.items import Failed, Item, Mark
from mmadapt.data.streams import Drawn, Stream
from mmadapt.data.substitutes import first_usable
from mmadapt.data.views import InMemory, reference
from mmadapt.errors import MMAdaptError
from mmadapt.types import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REFERENCE = (0, 1)  # beside a sample's own key: what its reference is drawn with


@dataclass(frozen=True)
class Share:
    """Which samples of a stream one process takes: batch after batch in turn with the others.

    Args:
        batch_size: samples of a batch of one process.
        rank: number of this process.
        ranks: how many there are.
        begin: samples that all of them have taken before.
        marks: those of a sample before `begin`.
    """

    batch_size: int = 1
    rank: int = 0
    ranks: int = 1
    begin: int = 0
    marks: tuple[Mark, ...] = ()


class StreamedDataset(IterableDataset[Item | Failed]):
    """Tokenised text and processed media of streamed samples, without end.

    Every process, and every loader worker of it, reads all records in the same order, and prepares
    those of its own batches. So a sample comes once a pass whatever their numbers are, and its
    random choices are a function of (seed, pass, index). One that is unreadable or to be skipped is
    replaced by the next one of the stream that is not. Of several references one is drawn in each
    pass, since nothing says before how many there are.

    Args:
        source: the samples.
        head: tokenises them.
        tokenizer: the LM's.
        processors: by encoder name, its modality and its processor.
        seed: of the order and of every random choice.
        buffer: samples to draw from, see `Stream`.
        options: those of `MediaDataset` for training.

    Attributes:
        shuffle: whether samples come in a random order.
        share: what this process takes.
    """

    def __init__(
        self,
        source: StreamedSource,
        head: Head,
        tokenizer: PreTrainedTokenizerBase,
        processors: Mapping[str, tuple[str, Processor]],
        *,
        seed: int = 0,
        buffer: int = 0,
        **options: Any,
    ) -> None:
        self.source, self.seed, self.buffer = source, seed, buffer
        self.preparer = MediaDataset(
            InMemory(()), head, tokenizer, processors, seed=seed, keep_texts=False, **options
        )
        self.shuffle, self.share = True, Share()

    def __iter__(self) -> Iterator[Item | Failed]:
        share, worker = self.share, get_worker_info()
        turn, turns = (0, 1) if worker is None else (worker.id, worker.num_workers)
        stream = Stream(self.source, self.seed, self.buffer if self.shuffle else 0)
        ahead = _Ahead(stream.samples(share.begin, share.marks))
        place = 0
        while True:
            batch, ours = place // share.batch_size, share.rank
            if batch % share.ranks == ours and batch // share.ranks % turns == turn:
                yield self._prepared(ahead)
            try:
                next(ahead)
            except MMAdaptError as error:  # raised here, it would arrive as a traceback
                yield Failed(place, "", error)
                return
            except StopIteration:  # it has ended with an error already
                return
            place += 1

    def _prepared(self, ahead: _Ahead) -> Item | Failed:
        """The sample that stands next, or the first of those after it that can be used."""
        try:
            found = first_usable(map(self._one, ahead.peek()), self.preparer.substitute)
        except MMAdaptError as error:
            return Failed(0, "", error)
        # The marks are those of the place, though a sample of the next pass may stand in there.
        return replace(found, marks=ahead.seen[0].marks) if isinstance(found, Item) else found

    def _one(self, drawn: Drawn) -> Item | Failed:
        key = (self.seed, drawn.epoch, drawn.index, *_REFERENCE)
        load = partial(_with_target, drawn, np.random.default_rng(key))
        return self.preparer.prepare(drawn.epoch, drawn.index, load)


class _Ahead:
    """A stream of which some samples can be seen before they are taken."""

    def __init__(self, stream: Iterator[Drawn]) -> None:
        self.stream = stream
        self.seen: deque[Drawn] = deque()
        self._end: MMAdaptError | None = None

    def __next__(self) -> Drawn:
        return self.seen.popleft() if self.seen else self._read()

    def peek(self) -> Iterator[Drawn]:
        """The next samples, none of which is taken."""
        for place in count():
            if place == len(self.seen):
                self.seen.append(self._read())
            yield self.seen[place]

    def _read(self) -> Drawn:
        """The next of the stream, or the error that has ended it, as often as it is asked for."""
        if self._end is not None:
            raise self._end
        try:
            return next(self.stream)
        except MMAdaptError as error:
            self._end = error
            raise


def _with_target(drawn: Drawn, rng: np.random.Generator) -> Sample:
    """A sample with one of its references for a target, where it has none of its own."""
    sample = drawn.load()
    references: Sequence[str] = sample.get("references") or ()
    if len(references) < 2 or sample.get("target") or sample.get("answers"):
        return sample
    return reference(sample, int(rng.integers(len(references))))
