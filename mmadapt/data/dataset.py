"""From a source's samples to tokens and processed media, one at a time, in loader workers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from mmadapt.contracts import Head, Processor, Source
from mmadapt.data.cache import MemoryCache
from mmadapt.data.encoded import on_disk
from mmadapt.errors import DataError, MediaError, MMAdaptError
from mmadapt.types import IGNORE_INDEX, MediaPart, Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_SUBSTITUTES = 32
MediaMode = Literal["as_is", "removed", "blank"]


@dataclass(frozen=True)
class Failed:
    """A sample that could not be prepared, and why.

    It is a value because an error raised in a loader worker arrives as a traceback.
    """

    index: int
    id: str
    error: MMAdaptError


@dataclass(frozen=True)
class Medium:
    """One media file as one encoder reads it: `values` (t, ...) and what is not padding.

    `key` names the content, where no random choice went into it.
    """

    encoder: str
    file: int
    values: Tensor
    mask: Tensor | None = None
    key: Hashable | None = None


@dataclass(frozen=True)
class Item:
    """A sample ready to be collated; `failed` are the samples that it stands in for."""

    index: int
    id: str
    input_ids: np.ndarray
    labels: np.ndarray
    media_positions: np.ndarray
    media: tuple[Medium, ...] = ()
    failed: tuple[Failed, ...] = ()


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
        substitute: an unreadable sample is replaced by the next readable one instead of returned as
            `Failed`.
        max_length: more tokens than this are an error that names the sample.
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
        max_length: int | None = None,
    ) -> None:
        self.source, self.head, self.tokenizer = source, head, tokenizer
        self.processors = dict(processors)
        self.training, self.seed, self.augment = training, seed, augment and training
        self.media, self.substitute, self.max_length = media, substitute, max_length
        self.cache = MemoryCache() if cache is None else cache
        self._own = object()  # tells this dataset's texts from others' in a shared cache
        self._bad: dict[int, Failed] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int | tuple[int, int]) -> Item | Failed:
        epoch, first = index if isinstance(index, tuple) else (0, index)
        failed: list[Failed] = []
        for offset in range(min(len(self), MAX_SUBSTITUTES) if self.substitute else 1):
            result = self._prepare(epoch, (first + offset) % len(self))
            if isinstance(result, Item):
                return replace(result, failed=tuple(failed)) if failed else result
            failed.append(result)
            if not isinstance(result.error, MediaError):
                return result
        last = failed[-1]
        if not self.substitute:
            return last
        reason = f"{len(failed)} samples in a row cannot be read; the last: {last.error}"
        return replace(last, error=DataError("data", None, reason))

    def _prepare(self, epoch: int, index: int) -> Item | Failed:
        if index in self._bad:  # a file that took its time limit to fail is not tried again
            return self._bad[index]
        sample_id = str(index)
        try:
            sample = self.source[index]
            sample_id = sample["id"]
            text = self._text(epoch, index, sample)
            return replace(text, media=tuple(self._media(epoch, index, sample)))
        except MMAdaptError as error:
            self._bad[index] = Failed(index, sample_id, error)
            return self._bad[index]

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])

    def _text(self, epoch: int, index: int, sample: Sample) -> Item:
        key = (self._own, index)
        item = self.cache.get(key)
        if item is not None:
            return item
        rng = self._rng(epoch, index) if self.training else None
        before = _state(rng)
        encoded = self.head.encode(sample, self.tokenizer, with_target=self.training, rng=rng)
        positions = encoded.media_positions if self.media != "removed" else []
        arrays = [
            np.asarray(values, dtype=np.int64)
            for values in (encoded.input_ids, encoded.labels, positions)
        ]
        item = Item(index, sample["id"], arrays[0], arrays[1], arrays[2])
        self._check(item)
        if _state(rng) == before:
            self.cache.put(key, item, sum(array.nbytes for array in arrays) + 500)
        return item

    def _check(self, item: Item) -> None:
        length = len(item.input_ids)
        if length == 0:
            raise DataError(
                "sample", item.id, "has no text: the prompt is empty, and so is the LM's"
            )
        if self.training and not (item.labels != IGNORE_INDEX).any():
            raise DataError("sample", item.id, "has no labelled token, so nothing to learn from")
        if self.max_length is not None and length > self.max_length:
            raise DataError(
                "sample", item.id, f"has {length} tokens; the LM takes at most {self.max_length}"
            )

    def _media(self, epoch: int, index: int, sample: Sample) -> Iterator[Medium]:
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
                rng = self._rng(epoch, index, 1 + file, number) if self.augment else None
                medium = self._processed(name, processor, part, rng, f"sample {sample['id']}")
                if self.media == "blank":
                    zeros = torch.zeros_like(medium.values)
                    medium = replace(medium, values=zeros, key=("blank", zeros.shape))
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
        before = _state(rng)
        with on_disk(part, called) as shown:
            result = processor(shown, rng)
        values, mask = result if isinstance(result, tuple) else (result, None)
        if part.get("path") is None or _state(rng) != before:
            return Medium(name, 0, values, mask)
        medium = Medium(name, 0, values, mask, key)
        worker = get_worker_info()
        copies = 1 if worker is None else worker.num_workers  # each worker keeps its own
        nbytes = sum(x.numel() * x.element_size() for x in (values, mask) if x is not None)
        self.cache.put(key, medium, nbytes * copies)
        return medium


def _state(rng: np.random.Generator | None) -> object:
    """What changes when a generator is drawn from."""
    if rng is None:
        return None
    bits = rng.bit_generator
    return bits.state["state"]["state"], getattr(bits.seed_seq, "n_children_spawned", 0)
