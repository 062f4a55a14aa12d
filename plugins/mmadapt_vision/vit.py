"""`vit`: images through a vision transformer (ViT, DeiT, CLIP, SigLIP, DINOv2, DINOv3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import BaseModel
from torch import Tensor

from mmadapt.contracts import Processor
from mmadapt.contracts.fusion import EncoderInfo
from mmadapt.data.media import as_image, read_image
from mmadapt.encoding import only_real, token_mask
from mmadapt.types import Features, LevelSpec, MediaInputs, MediaPart, Modality
from mmadapt_vision.augment import Views
from mmadapt_vision.base import VisionEncoder, is_own_size, patch_grid
from mmadapt_vision.config import VitConfig
from mmadapt_vision.families import as_pair, num_prefix_tokens
from mmadapt_vision.tower import TowerSpec


class ImageProcessor(Processor):
    """Reads one image and makes a view of it.

    Args:
        views: the model's pixel rule and the augmentation.
    """

    def __init__(self, views: Views) -> None:
        self.views = views

    def __call__(self, media: MediaPart, rng: np.random.Generator | None = None) -> Tensor:
        """Reads an image.

        Args:
            media: `path`, or `value`: a PIL image or an array.
            rng: the sample's generator for augmentation; None gives the model's own view.

        Returns:
            (1, 3, h, w), uint8 except for models that scale before they resize; not yet normalised.

        Raises:
            MediaError: it cannot be read.
        """
        image = as_image(media["value"]) if "value" in media else read_image(media["path"])
        return self.views(np.asarray(image)[None], rng)


class VitEncoder(VisionEncoder):
    """Images through a vision transformer; an item is an image.

    Raw levels are what the blocks return; final-normed ones are the model's own last LayerNorm of
    all tokens (of CLIP, too, whose own output norms the CLS alone).

    Example:
        >>> encoder = VitEncoder(VitConfig(model="google/vit-base-patch16-224"))  # doctest: +SKIP
        >>> encoder.grid, encoder.num_prefix_tokens, encoder.num_levels  # doctest: +SKIP
        ((14, 14), 1, 12)
    """

    Config: ClassVar[type[BaseModel]] = VitConfig
    modality: ClassVar[Modality] = "image"
    items_at_once = 32
    config: VitConfig

    def __init__(self, config: VitConfig) -> None:
        super().__init__(config)
        self.processor = ImageProcessor(self.views())

    @classmethod
    def describe(cls, config: VitConfig, spec: TowerSpec) -> EncoderInfo:
        """Sizes of the tokens of one image."""
        return EncoderInfo(
            cls.modality,
            spec.config.hidden_size,
            spec.config.num_hidden_layers,
            1,
            num_prefix_tokens(spec.family, spec.config),
            patch_grid(spec, as_pair(spec.config.patch_size)),
        )

    def forward(self, inputs: MediaInputs, levels: Sequence[LevelSpec]) -> Features:
        """Encodes `inputs.values` (b, t, 3, h, w), pixels as the processor gives them.

        Raises:
            ModelError: a level that the model does not have.
        """
        item = inputs["item"]
        rows, spread = only_real(inputs["values"], item)
        resized = self.spec.family.interpolates and not is_own_size(self.spec)
        options = {"interpolate_pos_encoding": True} if resized else {}
        found = self.run_rows(rows, levels, lambda pixels: self.model(pixels, **options))
        tokens = tuple(spread(level) for level in found)
        height, width = self.grid or (0, 0)
        mask = token_mask(item, self.num_prefix_tokens + height * width)
        return Features(tokens, mask, item, self.num_prefix_tokens, self.grid)
