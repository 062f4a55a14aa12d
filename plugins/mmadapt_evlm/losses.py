"""Losses that balance routers (Switch Transformer, arXiv 2101.03961) and keep logits small.

In the units of transformers: the loss of even load is top_k. DeepSeekMoE's is this divided by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def balance_loss(
    logits: Sequence[Tensor], top_k: int, mode: Literal["per_layer", "hf_pooled"]
) -> Tensor:
    """E * sum over experts of (picks per token) * (mean probability).

    Args:
        logits: of each layer (n, E), without padding.
        top_k: experts of a token.
        mode: the mean of the layers' losses, or one of the picks and probabilities of all layers.
    """
    loads, chances = [], []
    for layer in logits:
        probabilities = layer.float().softmax(dim=-1)
        picks = probabilities.topk(top_k, dim=-1).indices
        chosen = torch.zeros_like(probabilities).scatter(1, picks, 1.0)
        loads.append(chosen.mean(dim=0))
        chances.append(probabilities.mean(dim=0))
    load, chance = torch.stack(loads), torch.stack(chances)
    if mode == "hf_pooled":
        load, chance = load.mean(dim=0, keepdim=True), chance.mean(dim=0, keepdim=True)
    return load.shape[1] * (load * chance).sum(dim=1).mean()


def z_loss(logits: Sequence[Tensor]) -> Tensor:
    """The mean over layers and tokens of the squared logsumexp of router logits (n, E)."""
    return torch.stack([layer.float().logsumexp(dim=-1).square().mean() for layer in logits]).mean()
