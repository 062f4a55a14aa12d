"""`vit_frames`: frames of a clip, each an image, through a vision transformer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel
from torch import Tensor

from mmadapt.contracts import Processor
from mmadapt.contracts.fusion import EncoderInfo
from mmadapt.data.media import as_frames, read_video
from mmadapt.types import MediaPart, Modality
from mmadapt_vision.augment import Views
from mmadapt_vision.config import SamplingConfig, VitFramesConfig
from mmadapt_vision.tower import TowerSpec
from mmadapt_vision.vit import VitEncoder


class FramesProcessor(Processor):
    """Reads some frames of a clip and makes one view of them all.

    Args:
        views: the model's pixel rule and the augmentation.
        num_frames: how many.
        sampling: where in the clip; see `SamplingConfig`.
        exact: repeats the last frame where sampling at a rate finds fewer than `num_frames`.
    """

    def __init__(
        self, views: Views, num_frames: int, sampling: SamplingConfig, exact: bool = False
    ) -> None:
        self.views = views
        self.num_frames = num_frames
        self.sampling = sampling.sampling
        self.fps = sampling.fps
        self.start, self.end = sampling.start, sampling.end
        self.timeout = sampling.timeout
        self.exact = exact

    def __call__(self, media: MediaPart, rng: np.random.Generator | None = None) -> Tensor:
        """Reads a clip.

        Args:
            media: `path` (where it has `start` or `end`, in seconds, the recipe's do not count), or
                `value`: frames in memory, a list of images or an array (t, h, w, 3), of which
                `num_frames` are taken.
            rng: the sample's generator: for `segment` sampling one random frame of each part, and
                for augmentation, the same of all frames; None gives the middles and the model's
                own view.

        Returns:
            (num_frames, 3, h, w), uint8 except for models that scale before they resize; not yet
            normalised. Sampling at a rate gives fewer frames of a short clip.

        Raises:
            MediaError: it cannot be read.
        """
        frames = self._read(media, rng)
        missing = self.num_frames - len(frames)
        if self.exact and missing > 0:
            frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
        return self.views(frames, rng)

    def _read(self, media: MediaPart, rng: np.random.Generator | None) -> np.ndarray:
        if "value" in media:
            return self._taken(media["value"], rng)
        start, end = media.get("start"), media.get("end")
        if start is None and end is None:
            start, end = self.start, self.end
        clip = read_video(
            media["path"],
            num_frames=self.num_frames,
            fps=self.fps,
            sampling=self.sampling,
            start=start,
            end=end,
            rng=rng,
            timeout=self.timeout,
        )
        return clip.frames

    def _taken(self, value: Any, rng: np.random.Generator | None) -> np.ndarray:
        frames = as_frames(value)
        is_random = rng is not None and self.sampling == "segment"
        offsets = rng.random(self.num_frames) if rng is not None and is_random else 0.5
        parts = (np.arange(self.num_frames) + offsets) * len(frames) / self.num_frames
        return frames[np.minimum(parts.astype(int), len(frames) - 1)]


class VitFramesEncoder(VitEncoder):
    """A clip through a vision transformer; an item is a frame.

    Example:
        >>> config = VitFramesConfig(model="openai/clip-vit-large-patch14", num_frames=8)
        >>> encoder = VitFramesEncoder(config)  # doctest: +SKIP
        >>> encoder.num_items, encoder.grid  # doctest: +SKIP
        (8, (16, 16))
    """

    Config: ClassVar[type[BaseModel]] = VitFramesConfig
    modality: ClassVar[Modality] = "video"
    config: VitFramesConfig

    def __init__(self, config: VitFramesConfig) -> None:
        super().__init__(config)
        self.processor = FramesProcessor(self.views(), config.num_frames, config)

    @classmethod
    def describe(cls, config: Any, spec: TowerSpec) -> EncoderInfo:
        """Sizes of the tokens of one clip."""
        return replace(super().describe(config, spec), num_items=config.num_frames)
