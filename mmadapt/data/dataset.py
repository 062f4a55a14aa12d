"""From a source's samples to tokens and processed media, one at a time, in loader workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info
from tqdm import tqdm

from mmadapt.contracts import Head, Processor, Source
from mmadapt.data.cache import MemoryCache
from mmadapt.data.encoded import on_disk
from mmadapt.data.items import Cached, Failed, Item, Medium
from mmadapt.data.length import LengthLimit, TooLongError
from mmadapt.data.media.decode.errors import NO_SOUND_TRACK
from mmadapt.data.origin import located, place
from mmadapt.data.processing import drawn, read_part
from mmadapt.data.substitutes import MAX_SUBSTITUTES, first_usable
from mmadapt.errors import DataError, MediaError, MMAdaptError
from mmadapt.text import special_prefix
from mmadapt.types import IGNORE_INDEX, MediaPart, Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SLOW_SECONDS = 5.0
MediaMode = Literal["as_is", "removed", "blank"]


class MediaDataset(Dataset[Item | Failed]):
    """Tokenised text and processed media of every sample of a source.

    An index is a number, or (epoch, number) from `EpochSampler`. Every random choice about a
    sample (of its head, of its processors) is drawn from a generator seeded with (seed, epoch,
    index). What was prepared without drawing from it is kept in memory while the cache's budget
    lasts, so that later epochs read no file; results are the same with and without.

    Args:
        source: the samples.
        head: tokenises them.
        tokenizer: the LM's.
        processors: by encoder name, its modality and its processor.
        training: targets and labels are wanted, and random choices are made.
        seed: of those choices.
        augment: processors may make random choices too.
        media: `as_is`; `removed`: the same text without media; `blank`: zeros in place of the
            media.
        cache: kept results; shared between datasets of the same processors.
        substitute: a sample that is unreadable or to be skipped is replaced by the next one that is
            not, instead of returned as `Failed`.
        limit: how long a sample may be, and what to do with a longer one.
        keep_texts: the cache holds tokenised texts too.
    """

    def __init__(
        self,
        source: Source,
        head: Head,
        tokenizer: PreTrainedTokenizerBase,
        processors: Mapping[str, tuple[str, Processor]],
        *,
        training: bool,
        seed: int = 0,
        augment: bool = False,
        media: MediaMode = "as_is",
        cache: MemoryCache | None = None,
        substitute: bool = False,
        limit: LengthLimit | None = None,
        keep_texts: bool = True,
    ) -> None:
        self.source, self.head, self.tokenizer = source, head, tokenizer
        self.processors = dict(processors)
        self.training, self.seed, self.augment = training, seed, augment and training
        self.media, self.substitute, self.keep_texts = media, substitute, keep_texts
        self.limit = LengthLimit() if limit is None else limit
        self.cache = MemoryCache() if cache is None else cache
        self._own = object()  # tells this dataset's texts from others' in a shared cache
        self._unreadable: dict[Hashable, MediaError] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int | tuple[int, int]) -> Item | Failed:
        epoch, first = index if isinstance(index, tuple) else (0, index)
        count = len(self)
        indices = ((first + k) % count for k in range(min(count, MAX_SUBSTITUTES)))
        results = (self.prepare(epoch, k, partial(self.source.__getitem__, k)) for k in indices)
        return first_usable(results, self.substitute)

    def lengths(self, items: Mapping[str, int]) -> list[int]:
        """How many tokens each sample has, media counted, without reading any media.

        Args:
            items: by encoder, how many items one file gives.

        Raises:
            DataError: a sample is wrong.
        """
        counts = []
        samples = enumerate(self.source)
        for index, sample in tqdm(samples, "lengths", len(self), delay=5, unit="sample"):
            media = [
                (name, items.get(name, 1))
                for part in (sample.get("media") or [] if self.media != "removed" else [])
                for name, (modality, _) in self.processors.items()
                if modality == part["type"]
            ]
            with located(sample):
                text = self._text(0, index, sample)
            counts.append(len(text.input_ids) + self.limit.inserted.count(media))
        return counts

    def prepare(self, epoch: int, index: int, load: Callable[[], Sample]) -> Item | Failed:
        """One sample, or why it cannot be used.

        Args:
            epoch: with the index, what random choices are drawn with.
            index: of the sample.
            load: gives the sample.
        """
        sample_id = str(index)
        try:
            sample = load()
            sample_id = sample["id"]
            with located(sample):
                text = self._text(epoch, index, sample)
                if self.limit.too_long != "truncate_prompt" and self.limit.excess(text):
                    raise self.limit.error(text)  # before any media are read
                cached = self._cached(sample)
                media = tuple(self._media(epoch, index, sample, cached))
                whole = replace(text, media=media, cached=cached)
                return self._fitted(whole, sample)
        except MediaError as error:
            return Failed(index, sample_id, error, "unreadable")
        except TooLongError as error:
            is_skipped = self.limit.too_long == "skip"
            return Failed(index, sample_id, error, "too_long" if is_skipped else "wrong")
        except MMAdaptError as error:
            return Failed(index, sample_id, error)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])

    def _text(self, epoch: int, index: int, sample: Sample) -> Item:
        key = (self._own, index)
        item = self.cache.get(key)
        if item is not None:
            return item
        rng = self._rng(epoch, index) if self.training else None
        before = drawn(rng)
        encoded = self.head.encode(sample, self.tokenizer, with_target=self.training, rng=rng)
        positions = encoded.media_positions if self.media != "removed" else []
        arrays = [
            np.asarray(values, dtype=np.int64)
            for values in (encoded.input_ids, encoded.labels, positions)
        ]
        item = Item(index, sample["id"], arrays[0], arrays[1], arrays[2])
        self._check(item)
        if self.keep_texts and drawn(rng) == before:
            self.cache.put(key, item, sum(array.nbytes for array in arrays) + 500)
        return item

    def _check(self, item: Item) -> None:
        if len(item.input_ids) == 0:
            raise DataError(
                "sample", item.id, "has no text: the prompt is empty, and so is the LM's"
            )
        if self.training and not (item.labels != IGNORE_INDEX).any():
            raise DataError("sample", item.id, "has no labelled token, so nothing to learn from")

    def _fitted(self, item: Item, sample: Sample) -> Item:
        """The sample with its prompt cut where that is wanted and needed."""
        excess = self.limit.excess(item)
        if not excess:
            return item
        cut = self.limit.fitted(item, len(special_prefix(self.tokenizer)))
        said = DataError(place(sample), None, f"its prompt was cut by {excess} tokens")
        return replace(cut, failed=(Failed(item.index, item.id, said, "truncated"),))

    def _cached(self, sample: Sample) -> tuple[Cached, ...]:
        """What the cache on disk knows of a sample's media."""
        reader = None if self.augment or self.media != "as_is" else self.cache.features
        if reader is None:
            return ()
        modalities = {name: modality for name, (modality, _) in self.processors.items()}
        parts = sample.get("media") or []
        return reader.known(parts, modalities, training=self.training, memory=self.cache)

    def _media(
        self, epoch: int, index: int, sample: Sample, cached: tuple[Cached, ...]
    ) -> Iterator[Medium]:
        """Reads the media of those encoders whose features are not at hand."""
        done = {one.encoder for one in cached if one.rows is not None}
        parts = sample.get("media") or []
        if self.media == "removed":
            return
        for file, part in enumerate(parts):
            readers = [
                (name, processor)
                for name, (modality, processor) in self.processors.items()
                if modality == part["type"]
            ]
            if not readers:
                known = ", ".join(sorted({modality for modality, _ in self.processors.values()}))
                raise DataError(
                    "sample", sample["id"], f"has {part['type']} media; the encoders read {known}"
                )
            for number, (name, processor) in enumerate(readers):
                if name in done:
                    continue
                rng = self._rng(epoch, index, 1 + file, number) if self.augment else None
                try:
                    medium = self._processed(name, processor, part, rng, place(sample))
                except MediaError as error:
                    if part.get("optional") and error.reason == NO_SOUND_TRACK:
                        continue
                    raise
                if self.media == "blank":
                    zeros = torch.zeros_like(medium.values)
                    seen = None if medium.mask is None else medium.mask.numpy().tobytes()
                    medium = replace(medium, values=zeros, key=("blank", zeros.shape, seen))
                yield replace(medium, file=file)

    def _processed(
        self,
        name: str,
        processor: Processor,
        part: MediaPart,
        rng: np.random.Generator | None,
        called: str,
    ) -> Medium:
        # A processor may read a file otherwise when it is given a generator, without drawing.
        key = (name, part.get("path"), part.get("start"), part.get("end"), rng is not None)
        kept = self.cache.get(key)
        if kept is not None:
            return kept
        if key in self._unreadable:
            raise self._unreadable[key]
        before, started = drawn(rng), time.monotonic()
        try:
            with on_disk(part, called) as shown:
                result = read_part(processor, shown, rng)
        except MediaError as error:
            # Other random choices may do better, but no time limit is waited for twice.
            slow = time.monotonic() - started > SLOW_SECONDS
            if part.get("path") is not None and (drawn(rng) == before or slow):
                self._unreadable[key] = error
            raise
        values, mask = result if isinstance(result, tuple) else (result, None)
        if part.get("path") is None or drawn(rng) != before:
            return Medium(name, 0, values, mask)
        medium = Medium(name, 0, values, mask, key)
        worker = get_worker_info()
        copies = 1 if worker is None else worker.num_workers  # each worker keeps its own
        nbytes = sum(x.numel() * x.element_size() for x in (values, mask) if x is not None)
        self.cache.put(key, medium, nbytes * copies)
        return medium
