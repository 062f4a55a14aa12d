"""Dropping against a plain sort of the unmasked scores, ties and uneven rows included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmadapt_adem.dropping import drop_counts, drop_lowest


def naive(scores: Tensor, gamma: float, mask: Tensor) -> Tensor:
    """Row by row with Python's own sort, as the definition says."""
    kept = scores.clone()
    for b in range(scores.shape[0]):
        for s in range(scores.shape[1]):
            valid = sorted(
                v for v, m in zip(scores[b, s].tolist(), mask[b].tolist(), strict=True) if m
            )
            threshold = valid[int(gamma * len(valid))] if gamma > 0 else float("-inf")
            for n in range(scores.shape[2]):
                if scores[b, s, n] < threshold or not mask[b, n]:
                    kept[b, s, n] = 0
    return kept


def dropped(scores: Tensor, gamma: float, mask: Tensor) -> Tensor:
    return drop_lowest(scores, gamma, mask, drop_counts(gamma, mask)) * mask[:, None]


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.25, 0.4, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("ties", [False, True])
def test_equals_a_full_sort(gamma: float, ties: bool) -> None:
    torch.manual_seed(0)
    scores = torch.randn(5, 3, 20)
    if ties:
        scores = (2 * scores).round() / 2
    mask = torch.rand(5, 20) < 0.7
    mask[0], mask[1] = True, False
    mask[1, 3] = True
    assert torch.equal(dropped(scores, gamma, mask), naive(scores, gamma, mask))
    full = torch.ones_like(mask)
    assert torch.equal(drop_lowest(scores, gamma), naive(scores, gamma, full))
    assert torch.equal(dropped(scores, gamma, full), naive(scores, gamma, full))


def test_every_share_of_the_published_sizes() -> None:
    scores = torch.randn(1, 1, 320, generator=torch.Generator().manual_seed(1))
    for percent in range(1, 100):
        gone = (drop_lowest(scores, percent / 100) == 0).sum().item()
        assert gone == int(percent / 100 * 320) == 320 * percent // 100


def test_ties_at_the_threshold_stay() -> None:
    scores = torch.tensor([[[1.0, 0.5, 0.5, 0.5, 2.0]]])
    assert drop_lowest(scores, 0.4).tolist() == [[[1.0, 0.5, 0.5, 0.5, 2.0]]]
    assert drop_lowest(scores, 0.8).tolist() == [[[0.0, 0.0, 0.0, 0.0, 2.0]]]


def test_gradients_flow_through_kept_scores_only() -> None:
    scores = torch.tensor([[[3.0, -1.0, 2.0, 0.5]]], requires_grad=True)
    drop_lowest(scores, 0.5).sum().backward()
    assert scores.grad is not None and scores.grad.tolist() == [[[1.0, 0.0, 1.0, 0.0]]]


def test_a_row_without_tokens_gives_zero() -> None:
    mask = torch.zeros(1, 4, dtype=torch.bool)
    assert dropped(torch.randn(1, 2, 4), 0.5, mask).abs().sum() == 0


def test_compiles_to_the_same() -> None:
    scores = torch.randn(2, 3, 40, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 40, dtype=torch.bool)
    mask[1, 25:] = False
    counts = drop_counts(0.3, mask)
    compiled = torch.compile(drop_lowest, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(scores, 0.3), drop_lowest(scores, 0.3))
    assert torch.equal(compiled(scores, 0.3, mask, counts), drop_lowest(scores, 0.3, mask, counts))
