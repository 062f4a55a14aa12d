"""The levels of all encoders as the keys that gated layers attend to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmadapt.types import Features
from mmadapt_evlm.config import EvlmConfig


def files(features: Mapping[str, Features]) -> Tensor:
    """(b, t) file of each item, all encoders' items one after the other; -1 where absent."""
    return torch.cat([media.item for media in features.values()], dim=1)


class Media(nn.Module):
    """Flattens items, norms levels where told to, and says which item each key belongs to.

    Args:
        config: an `EvlmConfig`.
        widths: of each encoder's tokens.
    """

    def __init__(self, config: EvlmConfig, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.num_levels, self.concat = config.num_levels, config.levels == "concat"
        count = config.num_levels if config.media_norm == "layernorm" else 0
        self.norms = nn.ModuleDict(
            {
                name: nn.ModuleList(nn.LayerNorm(width) for _ in range(count))
                for name, width in widths.items()
            }
        )

    def keys(self, features: Mapping[str, Features]) -> tuple[Tensor, Tensor]:
        """(1, k) item of each key, counted through all encoders, and (b, k) whether it is real."""
        times = self.num_levels if self.concat else 1
        items, real, first = [], [], 0
        for media in features.values():
            _, count, length = media.mask.shape
            own = torch.arange(first, first + count, device=media.mask.device)
            items.append(own.repeat_interleave(length).repeat(times))
            real.append(media.mask.flatten(1).repeat(1, times))
            first += count
        return torch.cat(items)[None], torch.cat(real, dim=1)

    def forward(self, features: Mapping[str, Features]) -> list[dict[str, Tensor]]:
        """For each level, or once for all of them, the encoders' tokens (b, k, e)."""
        by_level = [
            {name: self._tokens(name, level, media) for name, media in features.items()}
            for level in range(self.num_levels)
        ]
        if not self.concat:
            return by_level
        return [{name: torch.cat([level[name] for level in by_level], dim=1) for name in features}]

    def _tokens(self, name: str, level: int, media: Features) -> Tensor:
        tokens, norms = media.levels[level].flatten(1, 2), cast(Any, self.norms[name])
        return norms[level](tokens.to(norms[level].weight.dtype)) if len(norms) else tokens
