"""Encoder: a frozen media model that returns the tokens after chosen blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel
from torch import Tensor, nn

from mmadapt.contracts.fusion import EncoderInfo, encoder_info
from mmadapt.types import Features, LevelSpec, MediaInputs, MediaPart, Modality


class Processor(ABC):
    """Turns one media file into an encoder's input; small, picklable, without weights."""

    @abstractmethod
    def __call__(
        self, media: MediaPart, rng: np.random.Generator | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Reads and preprocesses one media part.

        Args:
            media: a path or an in-memory value.
            rng: the sample's generator for sampling and augmentation; None means deterministic.

        Returns:
            (t, ...) one row per item, or that and a bool mask (t, ...) of the values that are not
            padding.
        """


class Encoder(nn.Module, ABC):
    """A frozen media model; subclasses are built from their own `Config` alone.

    Attributes:
        hidden_size: width e of its tokens.
        num_levels: number of blocks.
        num_items: items that one media file gives (frames of a clip; 1 for an image).
        num_prefix_tokens: CLS, distillation and register tokens in front of the patches.
        grid: (height, width) of the patch tokens, or None when it depends on the input.
        processor: its `Processor`.
        items_at_once: how many items of each sample run together where nothing learns, so that long
            media take no more memory than short ones; None: all, as items may depend on each other.
    """

    Config: ClassVar[type[BaseModel]]
    modality: ClassVar[Modality]
    hidden_size: int
    num_levels: int
    num_items: int = 1
    num_prefix_tokens: int = 0
    grid: tuple[int, int] | None = None
    processor: Processor
    items_at_once: int | None = None

    @classmethod
    def info(cls, config: Any) -> EncoderInfo:
        """What a fusion may know before any weights are loaded; by default loads them.

        Parameters are not part of it: `mmadapt check` counts those of `config.model` where
        transformers knows it, else those of the encoder, built on tensors without values.
        """
        return encoder_info(cls(config))

    @abstractmethod
    def forward(self, inputs: MediaInputs, levels: Sequence[LevelSpec]) -> Features:
        """Encodes `inputs.values` (b, t, ...) and returns `levels` in the order asked for."""

    def keep_blocks(self, count: int) -> None:
        """Drops the blocks after the first `count`, which no fusion reads; optional, saves time."""

    def mlp(self, block: int) -> nn.Module:
        """The MLP module of a block, for fusions that add a bottleneck beside it."""
        raise TypeError(f"{type(self).__name__} does not expose the MLPs of its blocks")

    def block(self, index: int) -> nn.Module:
        """The module of a block, for `train.unfreeze`; by default found in `self.blocks`."""
        blocks = getattr(self, "blocks", None)
        if not isinstance(blocks, nn.ModuleList):
            raise TypeError(f"{type(self).__name__} does not expose its blocks")
        return blocks[index]

    def fingerprint_config(self) -> dict[str, Any]:
        """What must be equal for an adapter to fit: the weights' configuration."""
        return {"hidden_size": self.hidden_size, "num_levels": self.num_levels}
