"""`video`: clips through a video transformer (TimeSformer, VideoMAE, ViViT).

Tokens stand in the order of time, then row, then column; TimeSformer's own order is another. With
the layout `clip` an item is a clip: its CLS first where the model has one, no grid. With `slots` an
item is a time slot (a frame in TimeSformer, a tubelet of two frames in VideoMAE and ViViT) with its
grid, without the CLS.

The published eP-ALM (arXiv 2303.11403) loads a TimeSformer of 8 frames for 16 by stretching its
time embeddings to the nearest; `num_frames: 16` does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from mmadapt.contracts import Processor
from mmadapt.contracts.fusion import EncoderInfo
from mmadapt.encoding import only_real, token_mask
from mmadapt.errors import ModelError
from mmadapt.types import Features, LevelSpec, MediaInputs, MediaPart, Modality
from mmadapt_vision.base import VisionEncoder, patch_grid
from mmadapt_vision.config import VideoConfig
from mmadapt_vision.families import as_pair
from mmadapt_vision.frames import FramesProcessor
from mmadapt_vision.tower import TowerSpec


class ClipProcessor(Processor):
    """Reads a clip as one item.

    Args:
        frames: reads its frames.
    """

    def __init__(self, frames: FramesProcessor) -> None:
        self.frames = frames

    def __call__(self, media: MediaPart, rng: np.random.Generator | None = None) -> Tensor:
        """Reads a clip; see `FramesProcessor`.

        Returns:
            (1, num_frames, 3, h, w), not yet normalised.
        """
        return self.frames(media, rng)[None]


class VideoEncoder(VisionEncoder):
    """A clip through a video transformer.

    Raises:
        ModelError: besides what `VisionEncoder` says, `num_frames` that the model cannot take.
    """

    Config: ClassVar[type[BaseModel]] = VideoConfig
    modality: ClassVar[Modality] = "video"
    items_at_once = 4  # clips
    config: VideoConfig

    def __init__(self, config: VideoConfig) -> None:
        super().__init__(config)
        self.num_frames = _num_frames(config, self.spec.config)
        if self.spec.config.model_type == "timesformer":
            self.model.config.num_frames = self.num_frames  # what its blocks read
        frames = FramesProcessor(self.views(), self.num_frames, config, exact=True)
        self.processor = ClipProcessor(frames)

    @classmethod
    def describe(cls, config: VideoConfig, spec: TowerSpec) -> EncoderInfo:
        """Sizes of the tokens of one clip."""
        hf = spec.config
        frames, prefix = _num_frames(config, hf), spec.family.prefix
        sizes = (cls.modality, hf.hidden_size, hf.num_hidden_layers)
        if config.layout == "slots" or (config.layout == "auto" and not prefix):
            depth, *patch = _tubelet(hf)
            return EncoderInfo(*sizes, frames // depth, 0, patch_grid(spec, as_pair(patch)))
        return EncoderInfo(*sizes, 1, prefix, None)

    def forward(self, inputs: MediaInputs, levels: Sequence[LevelSpec]) -> Features:
        """Encodes `inputs.values` (b, t, num_frames, 3, h, w), as the processor gives them.

        Returns:
            Levels (b, t, n, e) for the layout `clip`, else (b, t * slots, h * w, e).

        Raises:
            ModelError: a level that the model does not have.
        """
        item = inputs["item"]
        rows, spread = only_real(inputs["values"], item)
        tokens = tuple(spread(self._ordered(x)) for x in self.run_rows(rows, levels, self.model))
        if self.grid is not None:
            slots, prefix = self.num_items, self.spec.family.prefix
            tokens = tuple(x[:, :, prefix:].unflatten(2, (slots, -1)).flatten(1, 2) for x in tokens)
            item = item.repeat_interleave(slots, dim=1)
        mask = token_mask(item, tokens[0].shape[2])
        return Features(tokens, mask, item, self.num_prefix_tokens, self.grid)

    def _ordered(self, tokens: Tensor) -> Tensor:
        """(r, n, e) in the order of time, row, column."""
        if self.spec.config.model_type != "timesformer":
            return tokens
        patches = tokens[:, 1:].unflatten(1, (-1, self.num_frames)).transpose(1, 2).flatten(1, 2)
        return torch.cat([tokens[:, :1], patches], dim=1)


def _tubelet(hf: Any) -> tuple[int, int, int]:
    """(frames, height, width) of what becomes one token."""
    if hf.model_type == "vivit":
        depth, height, width = hf.tubelet_size
        return depth, height, width
    return (getattr(hf, "tubelet_size", 1), *as_pair(hf.patch_size))


def _num_frames(config: VideoConfig, hf: Any) -> int:
    """Frames of a clip.

    Raises:
        ModelError: not the frames, or not the attention, that the model can be given.
    """
    is_timesformer = hf.model_type == "timesformer"
    if is_timesformer and hf.attention_type == "space_only":
        raise ModelError(
            f"model {config.model} attends to each frame alone (attention_type: space_only); "
            "use the encoder vit_frames for that"
        )
    wanted = config.num_frames or hf.num_frames
    if wanted != hf.num_frames and not is_timesformer:
        raise ModelError(
            f"model {config.model} takes clips of {hf.num_frames} frames, not {wanted}; "
            f"leave num_frames out"
        )
    return wanted
