"""From an encoder's tokens to one token for each slot, without parameters."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mmadapt.types import Features


def pool_tokens(features: Features, pool: str) -> Features:
    """One token for each item: (b, t, n, e) levels become (b, t, 1, e).

    Args:
        features: from the encoder.
        pool: `cls` takes the first token; `mean` averages those after the prefix that are real.
    """
    if pool == "cls":
        levels = tuple(level[:, :, :1].clone() for level in features.levels)  # the rest may go
    else:
        first = features.num_prefix_tokens
        seen = features.mask[:, :, first:]
        levels = tuple(_mean(level[:, :, first:], seen, dim=2) for level in features.levels)
    present = (features.item >= 0)[..., None]
    return replace(features, levels=levels, mask=present, num_prefix_tokens=0, grid=None)


def pool_items(features: Features) -> Features:
    """One item for each sample: (b, t, 1, e) levels become (b, 1, 1, e), the mean over items."""
    levels = tuple(_mean(level, features.mask, dim=1) for level in features.levels)
    item = features.has_media.long()[:, None] - 1
    return replace(features, levels=levels, mask=(item >= 0)[..., None], item=item)


def _mean(tokens: Tensor, seen: Tensor, dim: int) -> Tensor:
    """The mean over `dim` of the tokens (b, t, n, e) that are seen (b, t, n); 0 if none is."""
    total = torch.where(seen[..., None], tokens, 0).sum(dim=dim, keepdim=True)
    return total / seen.sum(dim=dim, keepdim=True).clamp_min(1)[..., None].to(total.dtype)
