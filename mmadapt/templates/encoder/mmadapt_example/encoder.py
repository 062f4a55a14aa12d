"""The encoder `example`: pictures as patches through a small transformer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mmadapt.contracts import Encoder, EncoderInfo, Processor
from mmadapt.data.media import as_image, read_image
from mmadapt.types import Features, LevelSpec, MediaInputs, MediaPart


class ExampleConfig(BaseModel):
    """Options of `example`, as a recipe writes them.

    Args:
        image_size: Height and width of the pictures, in pixels.
        patch_size: Height and width of a patch.
        width: Of a token.
        depth: Number of blocks.
    """

    model_config = ConfigDict(extra="forbid")
    image_size: int = Field(default=32, gt=0)
    patch_size: int = Field(default=8, gt=0)
    width: int = Field(default=32, gt=0, multiple_of=4)
    depth: int = Field(default=2, gt=0)


class ExampleProcessor(Processor):
    """Reads one picture; runs in loader workers, so it is small and holds no weights."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, media: MediaPart, rng: np.random.Generator | None = None) -> Tensor:
        """Gives (1, 3, h, w) float32 in 0-1; with a generator, sometimes mirrored.

        Raises:
            MediaError: the file cannot be read.
        """
        image = as_image(media["value"]) if "value" in media else read_image(media["path"])
        pixels = np.asarray(image.resize((self.size, self.size)), dtype=np.float32) / 255
        if rng is not None and rng.random() < 0.5:
            pixels = pixels[:, ::-1].copy()
        return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


class ExampleEncoder(Encoder):
    """Patches through transformer blocks of random weights: load your own in `__init__`.

    Args:
        config: options, an instance of `ExampleConfig`.
    """

    Config = ExampleConfig
    modality = "image"

    def __init__(self, config: ExampleConfig) -> None:
        super().__init__()
        self.config = config
        info = self.info(config)
        self.hidden_size, self.num_levels, self.grid = info.hidden_size, info.num_levels, info.grid
        self.processor = ExampleProcessor(config.image_size)
        width = config.width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embed = nn.Conv2d(3, width, config.patch_size, config.patch_size)
            self.blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(
                    width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True
                )
                for _ in range(config.depth)
            )
            self.norm = nn.LayerNorm(width)

    @classmethod
    def info(cls, config: ExampleConfig) -> EncoderInfo:
        """What fusions are built from, before any weights are loaded."""
        side = config.image_size // config.patch_size
        return EncoderInfo(cls.modality, config.width, config.depth, grid=(side, side))

    def forward(self, inputs: MediaInputs, levels: Sequence[LevelSpec]) -> Features:
        """Encodes `inputs.values` (b, t, 3, h, w); gives one (b, t, n, e) for each level."""
        values, item = inputs["values"], inputs["item"]
        x = self.embed(values.flatten(0, 1).to(self.norm.weight.dtype)).flatten(2).transpose(1, 2)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x.unflatten(0, item.shape))
        chosen = [self.norm(outputs[k.block]) if k.normed else outputs[k.block] for k in levels]
        mask = (item >= 0)[..., None].expand(-1, -1, x.shape[1])
        return Features(tuple(chosen), mask, item, grid=self.grid)
