"""The fusion `example`: the mean of a sample's media, gated, beside each MLP."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mmadapt.contracts import Fusion, FusionContext
from mmadapt.types import Features, Memory, State


class ExampleConfig(BaseModel):
    """Options of `example`, as a recipe writes them.

    Args:
        scale: How strongly media are felt.
    """

    model_config = ConfigDict(extra="forbid")
    scale: float = Field(default=1.0, gt=0)


class ExampleFusion(Fusion):
    """Adds tanh(gate) * scale * mean(media) * x to what each MLP gives, x being what it read.

    Args:
        config: options, an instance of `ExampleConfig`.
        context: sizes of the LM and of the encoders served.
    """

    Config = ExampleConfig
    config: ExampleConfig

    def __init__(self, config: ExampleConfig, context: FusionContext) -> None:
        super().__init__(config, context)
        self.project = nn.ModuleDict(
            {
                name: nn.Linear(info.hidden_size, context.hidden_size)
                for name, info in context.encoders.items()
            }
        )
        # At 0 the LM is untouched in the beginning.
        self.gates = nn.Parameter(torch.zeros(context.num_layers, context.hidden_size))

    def prepare(self, features: Mapping[str, Features], state: State) -> Memory:
        """Once per batch: (b, 1, d), the mean of each sample's real media tokens, projected."""
        total = self.gates.new_zeros(1, 1, self.context.hidden_size)
        for name, media in features.items():
            seen = (media.mask & (media.item >= 0)[..., None]).to(total.dtype)[..., None]
            tokens = media.levels[0].to(total.dtype).masked_fill(seen == 0, 0)
            mean = tokens.sum(dim=(1, 2)) / seen.sum(dim=(1, 2)).clamp_min(1)
            total = total + (self.project[name](mean) * media.has_media[:, None])[:, None]
        return self.config.scale * total

    def mlp_output(self, i: int, x: Tensor, y: Tensor, state: State) -> Tensor:
        """At layer `i`: `x` (b, s, d) is what the MLP read, `y` (b, s, d) what it gave."""
        media = torch.tanh(self.gates[i]) * state.memories[self.name]
        return y + (media * x).to(y.dtype)
