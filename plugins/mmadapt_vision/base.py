"""What all vision encoders share: a tower, its blocks, and levels of the real items only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from mmadapt.contracts import Encoder
from mmadapt.contracts.fusion import EncoderInfo
from mmadapt.encoding import run_levels
from mmadapt.types import LevelSpec
from mmadapt_vision.augment import Views
from mmadapt_vision.config import PixelConfig
from mmadapt_vision.tower import TowerSpec, load_vision_tower, read_spec


class VisionEncoder(Encoder):
    """A frozen vision transformer; subclasses say how items become its rows.

    Args:
        config: an instance of the subclass's own `Config`.

    Raises:
        ModelError: the model cannot be loaded, or its architecture is not known.
    """

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        self.config = config
        self.spec = read_spec(config)
        info = self.describe(config, self.spec)
        self.hidden_size, self.num_levels = info.hidden_size, info.num_levels
        self.num_items, self.grid = info.num_items, info.grid
        self.num_prefix_tokens = info.num_prefix_tokens
        self.model = load_vision_tower(config, self.spec)

    @classmethod
    def info(cls, config: Any) -> EncoderInfo:
        """What a fusion may know before weights are loaded, from configuration files alone.

        Raises:
            ModelError: the files cannot be had, or the architecture is not known.
        """
        return cls.describe(config, read_spec(config))

    @classmethod
    def describe(cls, config: Any, spec: TowerSpec) -> EncoderInfo:
        """Sizes of the tokens that `config` asks of the tower `spec`."""
        raise TypeError(f"{cls.__name__} describes no items")

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks that are left."""
        found = self.model.get_submodule(self.spec.family.blocks)
        assert isinstance(found, nn.ModuleList)
        return found

    def keep_blocks(self, count: int) -> None:
        """Drops the blocks after the first `count`; at least one stays."""
        del self.blocks[max(1, count) :]

    def mlp(self, block: int) -> nn.Module:
        """The MLP module of a block: it reads the block's second norm; its output is the MLP's.

        Raises:
            TypeError: the block has no such module (TimeSformer, VideoMAE: two halves).
        """
        found = getattr(self.blocks[block], "mlp", None)
        return found if isinstance(found, nn.Module) else super().mlp(block)

    def fingerprint_config(self) -> dict[str, Any]:
        """What must be equal for an adapter to fit: the architecture and what it is fed."""
        hf = self.spec.config
        return {
            "model_type": hf.model_type,
            "hidden_size": self.hidden_size,
            "num_levels": self.num_levels,
            "num_items": self.num_items,
            "num_prefix_tokens": self.num_prefix_tokens,
            "grid": self.grid,
            "pixels": asdict(self.spec.rule),
        }

    def views(self) -> Views:
        """How this encoder's processor makes views of decoded frames."""
        config = self.config
        return Views(
            self.spec.rule,
            config.augment,
            config.augment_scale,
            config.augment_ops,
            config.augment_magnitude,
        )

    def run_rows(
        self, rows: Tensor, levels: Sequence[LevelSpec], forward: Callable[[Tensor], Any]
    ) -> tuple[Tensor, ...]:
        """Normalises pixels and returns levels.

        Args:
            rows: (r, …, 3, h, w) as the processor gave them.
            levels: which.
            forward: runs the model on normalised pixels of its own dtype.

        Returns:
            Per level the tokens (r, n, e).
        """
        pixels = self.spec.rule.normalize(rows).to(self.model.dtype)
        path = self.spec.family.norm
        norm = getattr(self.model, path, None)
        return run_levels(lambda: forward(pixels), list(self.blocks), norm, levels)


def is_own_size(spec: TowerSpec) -> bool:
    """Whether the pixels have the size that the tower's positions were trained at."""
    own = spec.config.image_size
    return spec.rule.size == ((own, own) if isinstance(own, int) else tuple(own))


def patch_grid(spec: TowerSpec, patch: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in patches of the pixels; a remainder at the edge is not seen."""
    return spec.rule.size[0] // patch[0], spec.rule.size[1] // patch[1]
