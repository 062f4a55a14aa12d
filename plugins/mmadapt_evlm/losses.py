"""Losses that balance routers (Switch Transformer, arXiv 2101.03961) and keep logits small.

In the units of transformers: the loss of even load is top_k. DeepSeekMoE's is this divided by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mmadapt.ranks import summed


def balance_loss(
    logits: Sequence[Tensor], top_k: int, mode: Literal["per_layer", "hf_pooled"]
) -> Tensor:
    """E * sum over experts of (picks per token) * (mean probability).

    Args:
        logits: of each layer (n, E), without padding; the picks of all processes of a launch count.
        top_k: experts of a token.
        mode: the mean of the layers' losses, or one of the picks and probabilities of all layers.
    """
    counts, chances = [], []
    for layer in logits:
        probabilities = layer.float().softmax(dim=-1)
        picks = probabilities.topk(top_k, dim=-1).indices
        chosen = torch.zeros_like(probabilities).scatter(1, picks, 1.0)
        counts.append(torch.cat([chosen.sum(dim=0), chosen.new_tensor([len(layer)])]))
        chances.append(probabilities.mean(dim=0))
    # Experts are to be even over the whole batch, not over each process's share of it.
    total, chance = summed(torch.stack(counts)), torch.stack(chances)
    load = total[:, :-1] / total[:, -1:]
    if mode == "hf_pooled":
        load, chance = load.mean(dim=0, keepdim=True), chance.mean(dim=0, keepdim=True)
    return load.shape[1] * (load * chance).sum(dim=1).mean()


def z_loss(logits: Sequence[Tensor]) -> Tensor:
    """The mean over layers and tokens of the squared logsumexp of router logits (n, E)."""
    return torch.stack([layer.float().logsumexp(dim=-1).square().mean() for layer in logits]).mean()
