"""A fusion that touches every site of an LM, each with a parameter of its own."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from mmadapt.contracts import Fusion
from mmadapt.contracts.fusion import SITES


class EverySiteConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sites: tuple[str, ...] = SITES
    token: bool = True


class EverySite(Fusion):
    """Adds gated media at each site of `sites`; `token` inserts one token for each media file."""

    Config = EverySiteConfig

    def __init__(self, config: EverySiteConfig, context: Any) -> None:
        super().__init__(config, context)
        info = next(iter(context.encoders.values()))
        self.project = nn.Linear(info.hidden_size, context.hidden_size)
        self.token = nn.Linear(info.hidden_size, context.embedding_size) if config.token else None
        self.gates = nn.ParameterDict(
            {
                site: 0.3 * torch.randn(context.num_layers, context.hidden_size)
                for site in config.sites
            }
        )

    def sites(self):
        return set(self.config.sites)

    def embeds(self, inputs, features):
        for media in features.values() if self.token is not None else ():
            tokens, item = media.levels[0].mean(dim=2), media.item
            for file in range(inputs.media_positions.shape[1]):
                own = (item == file).to(tokens.dtype)[..., None]
                mean = (tokens * own).sum(dim=1) / own.sum(dim=1).clamp_min(1)
                inputs = inputs.insert(
                    self.name,
                    inputs.media_positions[:, file : file + 1].clamp_min(0),
                    embeds=self.token(mean)[:, None],
                    present=(item == file).any(dim=1, keepdim=True),
                )
        return inputs

    def prepare(self, features, state):
        total: Any = torch.zeros(1, 1, self.context.hidden_size, device=self.project.weight.device)
        for media in features.values():
            seen = media.mask.to(media.levels[0].dtype)[..., None]
            tokens = (media.levels[0] * seen).sum(dim=(1, 2)) / seen.sum(dim=(1, 2)).clamp_min(1)
            total = total + (self.project(tokens) * media.has_media[:, None])[:, None]
        return {"mean": total}

    def _media(self, site: str, i: int, state: Any) -> Tensor:
        return self.gates[site][i] * (1 + state.memories[self.name]["mean"])

    def layer_input(self, i, hidden_states, mask, state):
        return hidden_states + self._media("layer_input", i, state), mask

    def attention_input(self, i, x, state):
        return x + self._media("attention_input", i, state)

    def attention_output(self, i, x, y, state):
        return y + torch.tanh(x) * self._media("attention_output", i, state)

    def mlp_input(self, i, x, state):
        return x + self._media("mlp_input", i, state)

    def mlp_output(self, i, x, y, state):
        return y + torch.tanh(x) * self._media("mlp_output", i, state)
