"""What all audio encoders share: a tower and its blocks."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from transformers import PreTrainedModel

from mmadapt.contracts import Encoder
from mmadapt.contracts.fusion import EncoderInfo
from mmadapt.types import Modality
from mmadapt_audio.config import AudioConfig
from mmadapt_audio.tower import TowerSpec, read_spec


class AudioEncoder(Encoder):
    """A frozen audio transformer; an item is a segment of a sound.

    Args:
        config: an instance of the subclass's own `Config`.

    Raises:
        ModelError: the model cannot be loaded, or is of another architecture.
    """

    modality: ClassVar[Modality] = "audio"
    model_type: ClassVar[str]

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        self.spec = read_spec(config, self.model_type)
        info = self.describe(config, self.spec)
        self.hidden_size, self.num_levels = info.hidden_size, info.num_levels
        self.num_items, self.grid = info.num_items, info.grid
        self.num_prefix_tokens = info.num_prefix_tokens
        self.model = self.load(config, self.spec)

    @classmethod
    def info(cls, config: Any) -> EncoderInfo:
        """What a fusion may know before weights are loaded, from configuration files alone.

        Raises:
            ModelError: the files cannot be had, or are of another architecture.
        """
        return cls.describe(config, read_spec(config, cls.model_type))

    @classmethod
    def describe(cls, config: Any, spec: TowerSpec) -> EncoderInfo:
        """Sizes of the tokens that `config` asks of the tower `spec`."""
        raise TypeError(f"{cls.__name__} describes no items")

    @classmethod
    def load(cls, config: Any, spec: TowerSpec) -> PreTrainedModel:
        """The tower with its weights."""
        raise TypeError(f"{cls.__name__} loads no tower")

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks that are left."""
        found = self.model.layers
        assert isinstance(found, nn.ModuleList)
        return found

    def keep_blocks(self, count: int) -> None:
        """Drops the blocks after the first `count`; at least one stays."""
        del self.blocks[max(1, count) :]

    def mlp(self, block: int) -> nn.Module:
        """The MLP module of a block: it reads the block's second norm; its output is the MLP's.

        Raises:
            TypeError: the block has no such module (Whisper).
        """
        found = getattr(self.blocks[block], "mlp", None)
        return found if isinstance(found, nn.Module) else super().mlp(block)

    def fingerprint_config(self) -> dict[str, Any]:
        """What must be equal for an adapter to fit: the architecture and what it is fed."""
        return {
            "model_type": self.model_type,
            "hidden_size": self.hidden_size,
            "num_levels": self.num_levels,
            "num_items": self.num_items,
            "num_prefix_tokens": self.num_prefix_tokens,
            "grid": self.grid,
        }
