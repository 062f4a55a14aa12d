"""Prefix fusion: media tokens, projected to the LM's width, stand in its input like words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from mmadapt.contracts import EncoderInfo, Fusion, FusionContext
from mmadapt.pooling import check_grid, pool_scales
from mmadapt.types import Features, LevelSpec, TextInputs


class PrefixConfig(BaseModel):
    """Options of `prefix`.

    Args:
        connector: `linear` (LiMBeR), `mlp` (LLaVA-1.5: Linear, GELU, Linear) or `resampler`
            (Perceiver: learned queries attend to the media tokens).
        level: the encoder level, counted from the end; -2 is what LLaVA reads.
        normed: apply the encoder's final norm to it.
        keep_cls: keep CLS and other prefix tokens.
        pool: (height, width) to which each item's grid is averaged, as video LMs do to their
            frames; None keeps every token.
        num_queries: tokens per item that the resampler gives.
        num_blocks: blocks of the resampler.
        num_heads: attention heads of the resampler.
    """

    model_config = ConfigDict(extra="forbid")
    connector: Literal["linear", "mlp", "resampler"] = "mlp"
    level: int = Field(default=-2, lt=0)
    normed: bool = False
    keep_cls: bool = False
    pool: tuple[PositiveInt, PositiveInt] | None = None
    num_queries: int = Field(default=16, ge=1)
    num_blocks: int = Field(default=2, ge=1)
    num_heads: int = Field(default=8, ge=1)


class Resampler(nn.Module):
    """Learned queries (k, d) that attend to an item's tokens (Flamingo, arXiv 2204.14198)."""

    def __init__(self, width: int, num_queries: int, num_blocks: int, num_heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_queries, width) * 0.02)
        self.norm_media = nn.LayerNorm(width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_blocks))
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(width, num_heads, batch_first=True) for _ in range(num_blocks)
        )
        self.mlps = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.GELU(),
                nn.Linear(4 * width, width),
            )
            for _ in range(num_blocks)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Turns items' tokens (items, n, d) into (items, k, d)."""
        x = self.queries.expand(tokens.shape[0], -1, -1)
        media = self.norm_media(tokens)
        for norm, attention, mlp in zip(self.norms, self.attentions, self.mlps, strict=True):
            q = norm(x)
            both = torch.cat([media, q], dim=1)
            x = x + attention(q, both, both, need_weights=False)[0]
            x = x + mlp(x)
        return x


class PrefixFusion(Fusion):
    """Media tokens in the input, before the column where their media file stands.

    Sources: LiMBeR (arXiv 2209.15162) for `linear`, LLaVA-1.5 (arXiv 2310.03744) for `mlp`.
    The whole LM is in the graph and every media token costs a position: the price of a prefix.

    Args:
        config: a `PrefixConfig`.
        context: sizes of the LM and of the encoders.
    """

    Config = PrefixConfig
    reduces_alone = True

    def __init__(self, config: PrefixConfig, context: FusionContext) -> None:
        super().__init__(config, context)
        for name, info in context.encoders.items():
            if config.pool is not None and info.grid is not None:
                check_grid(context.name, [config.pool], info.grid, name)
        self.connectors = nn.ModuleDict(
            {name: self._connector(info.hidden_size) for name, info in context.encoders.items()}
        )

    def _connector(self, width: int) -> nn.Module:
        out, config = self.context.embedding_size, self.config
        if config.connector == "linear":
            return nn.Linear(width, out)
        if config.connector == "mlp":
            return nn.Sequential(nn.Linear(width, out), nn.GELU(), nn.Linear(out, out))
        heads = next(h for h in range(config.num_heads, 0, -1) if width % h == 0)
        resampler = Resampler(width, config.num_queries, config.num_blocks, heads)
        return nn.Sequential(resampler, nn.Linear(width, out))

    def levels(self, encoder: EncoderInfo) -> Sequence[LevelSpec]:
        """One level, counted from the end."""
        return [LevelSpec(encoder.num_levels + self.config.level, self.config.normed)]

    def reduce(self, features: Features) -> Features:
        """Drops CLS unless it is kept, and pools the grid if that is asked for."""
        tokens, mask, first = features.levels[0], features.mask, features.num_prefix_tokens
        kept = first if self.config.keep_cls else 0
        grid = features.grid or (1, tokens.shape[2] - first)
        scale = self.config.pool or grid
        check_grid(self.name, [scale], grid)
        pooled, seen = pool_scales(tokens[:, :, first:], mask[:, :, first:], grid, [scale])
        tokens = torch.cat([tokens[:, :, :kept], pooled], dim=2)
        seen = torch.cat([mask[:, :, :kept], seen], dim=2)
        return replace(features, levels=(tokens,), mask=seen, num_prefix_tokens=kept, grid=None)

    def layers(self, num_layers: int) -> Sequence[int]:
        """None: only the input changes."""
        return ()

    def embeds(self, inputs: TextInputs, features: Mapping[str, Features]) -> TextInputs:
        """Inserts every item's tokens at its media file's column, file after file."""
        parts = [self._tokens(name, media) for name, media in features.items()]
        if not parts:
            return inputs
        embeds, file, present = (torch.cat(kind, dim=1) for kind in zip(*parts, strict=True))
        # Files of several encoders may share a column; their own order decides there.
        order = file.argsort(dim=1, stable=True)
        file, present = file.gather(1, order), present.gather(1, order)
        at = inputs.media_positions.gather(1, file.clamp_min(0)).clamp_min(0)
        embeds = embeds.gather(1, order[..., None].expand_as(embeds))
        return inputs.insert(self.name, at, embeds=embeds, present=present)

    def _tokens(self, name: str, media: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Of an encoder's items: embeddings (b, k, d), their files (b, k), which are there."""
        tokens, present = media.levels[0], media.mask
        b, t, n, _ = tokens.shape
        parameter: Any = next(self.connectors[name].parameters())
        embeds = self.connectors[name](tokens.flatten(0, 1).to(parameter.dtype))
        if self.config.connector == "resampler":
            n, present = embeds.shape[1], present.any(dim=2, keepdim=True)
        file = media.item[:, :, None].expand(b, t, n)
        present = present.expand(b, t, n)
        return embeds.view(b, t * n, -1), file.reshape(b, t * n), present.reshape(b, t * n)
