"""Adaptive fusion: the lowest scores of every text token are dropped (paper, Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor


def drop_counts(gamma: float, mask: Tensor) -> Tensor:
    """How many scores each row drops: int(gamma * n), n its unmasked tokens.

    Args:
        gamma: share to drop, below 1.
        mask: (b, n) bool.

    Returns:
        (b,) integers.
    """
    counts = [int(gamma * n) for n in range(mask.shape[1] + 1)]
    return torch.tensor(counts, device=mask.device)[mask.sum(dim=1)]


def drop_lowest(
    scores: Tensor, gamma: float, mask: Tensor | None = None, counts: Tensor | None = None
) -> Tensor:
    """Zeroes the scores below the threshold that stands at place int(gamma * n) in ascending order.

    Scores equal to the threshold stay, so ties may keep more than n - int(gamma * n) of them. The
    threshold is constant in the backward pass. Only the lowest scores are looked for, as sorting
    them all would cost several times more.

    Args:
        scores: (b, s, n), signed.
        gamma: share to drop; 0 drops nothing.
        mask: (b, n) bool, tokens that count; all by default.
        counts: (b,) `drop_counts(gamma, mask)`; needed with `mask`.

    Returns:
        (b, s, n). Masked scores are not reliably zero: their values must be.

    Example:
        >>> drop_lowest(torch.tensor([[[3.0, -1.0, 2.0, -1.0]]]), 0.3)
        tensor([[[ 3., -1.,  2., -1.]]])
    """
    if gamma <= 0:
        return scores
    fixed = scores.detach()
    most = int(gamma * scores.shape[2])
    if mask is None or counts is None:
        threshold = fixed.topk(most + 1, dim=2, largest=False, sorted=False).values.amax(2, True)
    else:
        fixed = fixed.masked_fill(~mask[:, None], torch.inf)
        lowest = fixed.topk(most + 1, dim=2, largest=False).values
        place = counts[:, None, None].expand(-1, scores.shape[1], 1)
        threshold = lowest.gather(2, place)
    return torch.where(scores < threshold, 0, scores)
