"""Sources seen differently: one caption at a time, a part of them, or with the media of others."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from mmadapt.contracts import Source
from mmadapt.data.pairing import pair
from mmadapt.data.spooled import Spooled
from mmadapt.types import MediaPart, Sample


class View(Source):
    """Some samples of a source, in an order of one's own.

    Args:
        source: where they come from.
        indices: which of them.
    """

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        super().__init__(source.config)
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.source[self.indices[index]]


class EachReference(Source):
    """Training's view: a sample without a target of its own becomes one sample per reference.

    A sample with `answers` stays one: its head chooses among them.

    Args:
        source: read through once, for the number of references.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source.config)
        self.source = source
        self.places: list[tuple[int, int | None]] = []
        for index, sample in enumerate(source):
            references = sample.get("references") or ()
            chosen = sample.get("target") or sample.get("answers")
            several = len(references) > 1 and not chosen
            self.places += [(index, n) for n in (range(len(references)) if several else [None])]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        place, number = self.places[index]
        sample = self.source[place]
        return sample if number is None else reference(sample, number)


def reference(sample: Sample, number: int) -> Sample:
    """The sample with one of its references for a target."""
    target = (sample.get("references") or [])[number]
    return {**sample, "id": f"{sample['id']}#{number}", "target": target}


class WithSound(Source):
    """Every clip with its own sound track as a further medium, for an encoder of sounds.

    The sounds come first, so that `<media>` markers stay with what they stood for. A clip that has
    no sound track goes without; a sample that has sounds of its own stays as it is.

    Args:
        source: the samples.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source.config)
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        return with_sound(self.source[index])


def with_sound(sample: Sample) -> Sample:
    """A sample with the sound tracks of its clips, see `WithSound`."""
    media = sample.get("media") or []
    if any(part["type"] == "audio" for part in media):
        return sample
    sounds: list[MediaPart] = [
        {**part, "type": "audio", "optional": True}
        for part in media
        if part["type"] == "video" and ("path" in part or isinstance(part["value"], bytes))
    ]
    return {**sample, "media": [*sounds, *media]} if sounds else sample


class SwappedMedia(Source):
    """Every sample with the media of another one that says something else.

    The partner is drawn with a seed among the samples whose media have the same kinds and which
    share no reference, best with the same prompt: the answer to another question says nothing of
    whether the media answer this one. Media are used a second time only where nothing unused fits.
    `unswapped` counts the samples that have no such partner and keep their own.

    Args:
        source: the samples.
        seed: of the draw.
    """

    def __init__(self, source: Source, seed: int = 0) -> None:
        super().__init__(source.config)
        self.source = source
        says: list[frozenset[str]] = []
        kinds: list[Hashable] = []
        asked: list[Hashable] = []
        for sample in source:
            kinds.append(tuple(part["type"] for part in sample.get("media") or ()))
            asked.append((kinds[-1], sample.get("prompt")))
            given = sample.get("references") or sample.get("answers")
            says.append(frozenset(given or [sample.get("target") or ""]))
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(kinds)).tolist()
        self.partner = list(range(len(kinds)))
        with_media = [index for index in order if kinds[index] != ()]
        left = pair(with_media, asked, says, self.partner, rng)
        pair(left, kinds, says, self.partner, rng, with_media)
        self.unswapped = sum(index == other for index, other in enumerate(self.partner))

    def __len__(self) -> int:
        return len(self.partner)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        return {**sample, "media": self.source[self.partner[index]].get("media") or []}


def seeded_subset(source: Source, limit: int | None, seed: int = 0) -> Source:
    """A random but fixed choice of at most `limit` samples, in the source's order.

    Of a streamed source the first ones are taken, so that the rest is not read.
    """
    if limit is not None and isinstance(source, Spooled):
        return View(source, range(source.count(limit)))
    if limit is None or limit >= len(source):
        return source
    chosen = np.random.default_rng(seed).choice(len(source), size=limit, replace=False)
    return View(source, sorted(chosen.tolist()))


class InMemory(Source):
    """Samples that are already there.

    Args:
        samples: all of them.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        super().__init__(None)
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]
