"""The shapes world as a source: rendered files with captions, or with questions and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mmadapt.contracts import Source
from mmadapt.types import MediaPart, Sample
from mmadapt_shapes.library import Shelf
from mmadapt_shapes.world import FIELDS, QUESTIONS, SPLITS, Medium, Split, caption, joint_caption

Media = Literal["video", "image", "audio", "audio_video"]

_MEDIUMS: dict[Media, tuple[Medium, ...]] = {
    "video": ("video",),
    "image": ("image",),
    "audio": ("audio",),
    "audio_video": ("video", "audio"),
}
_FILES: dict[Split, int] = {"train": 1400, "validation": 105, "test": 140}
_STRIDE = 11  # pairs a clip with a sound other than its own number, so that all pairs come up


class ShapesConfig(BaseModel):
    """Options of the shapes source.

    Attributes:
        split: Which combinations: no two splits share one.
        media: Clips, pictures, sounds, or clips that each come with a sound.
        task: Captions, or questions (`prompt`), one for each sample, with their answer and the
            `choices` it is one of.
        count: Number of samples; default: all of a moderate number of files.
        seed: Of the files: place, size, speed, shade.
        missing: Share of the captioned ``audio_video`` samples that have only the clip or only the
            sound, as likely one as the other; their caption names only what is there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: Split
    media: Media = "video"
    task: Literal["caption", "vqa"] = "caption"
    count: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    missing: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _possible(self) -> ShapesConfig:
        if self.missing and (self.media, self.task) != ("audio_video", "caption"):
            raise ValueError("missing needs media: audio_video and task: caption")
        return self


class ShapesSource(Source):
    """Coloured shapes that move, pictures of them, and tones; test combinations are unseen.

    The files are rendered when the first sample is read, into `cache_folder`, and kept.

    Args:
        config: Split, media and task.

    Example:
        >>> source = ShapesSource(ShapesConfig(split="test", count=2))
        >>> len(source)
        2
    """

    Config = ShapesConfig

    def __init__(self, config: ShapesConfig) -> None:
        super().__init__(config)
        self._mediums = _MEDIUMS[config.media]
        self._questions = [(medium, name) for medium in self._mediums for name in QUESTIONS[medium]]
        per_file = len(self._questions) if config.task == "vqa" else 1
        self._count = config.count or _FILES[config.split] * per_file
        files = -(-self._count // per_file)
        # the seed tells a medium's shelf from another, so the same clips serve every task
        self._shelves = {m: Shelf(m, config.split, files, config.seed) for m in self._mediums}
        self._ready = False

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self._count:
            raise IndexError(f"sample {index} of {self._count}")
        self._render()
        if self.config.task == "caption":
            return self._caption(index)
        return self._question(*divmod(index, len(self._questions)))

    def _render(self) -> None:
        if not self._ready:
            for shelf in self._shelves.values():
                shelf.render_missing()
            self._ready = True

    def _numbers(self, file: int) -> dict[Medium, int]:
        """Return which file of each shelf sample ``file`` uses; a missing medium has none."""
        count = next(iter(self._shelves.values())).count
        numbers = {m: (file + _STRIDE * i) % count for i, m in enumerate(self._mediums)}
        if not self.config.missing:
            return numbers
        rng = np.random.default_rng([self.config.seed, SPLITS.index(self.config.split), file])
        if rng.random() < self.config.missing:
            del numbers[self._mediums[rng.integers(len(self._mediums))]]
        return numbers

    def _shown(self, file: int) -> tuple[list[MediaPart], dict[Medium, dict[str, str]]]:
        numbers = self._numbers(file)
        media: list[MediaPart] = [
            {"type": medium, "path": str(self._shelves[medium].path(number))}
            for medium, number in numbers.items()
        ]
        return media, {m: self._shelves[m].combination(n) for m, n in numbers.items()}

    def _caption(self, file: int) -> Sample:
        media, shown = self._shown(file)
        words = _words(shown)
        return {
            "id": f"{self.config.split}-{file:05d}",
            "prompt": None,
            "target": words,
            "media": media,
            "references": [words],
            "answers": [words],
            "choices": None,
            "meta": _meta(shown),
        }

    def _question(self, file: int, number: int) -> Sample:
        media, shown = self._shown(file)
        medium, field = self._questions[number]
        answer = shown[medium][field]
        return {
            "id": f"{self.config.split}-{file:05d}-{field}",
            "prompt": QUESTIONS[medium][field],
            "target": answer,
            "media": media,
            "references": [answer],
            "answers": [answer],
            "choices": list(FIELDS[medium][field]),
            "meta": {**_meta(shown), "field": field},
        }


def _words(shown: Mapping[Medium, Mapping[str, str]]) -> str:
    if len(shown) > 1:
        return joint_caption(shown["video"], shown["audio"])
    return next(caption(medium, combination) for medium, combination in shown.items())


def _meta(shown: Mapping[Medium, Mapping[str, str]]) -> dict[str, str]:
    return {name: value for fields in shown.values() for name, value in fields.items()}
