"""Multi-scale pooling: the published order of tokens, and padding that counts for nothing."""

from __future__ import annotations

import pytest
import torch

from mmadapt.pooling import pool_scales


def ramp(*grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.arange(float(grid[0] * grid[1])).view(1, 1, -1, 1)
    return tokens, torch.ones(tokens.shape[:3], dtype=torch.bool)


def test_published_order_is_fine_then_coarse() -> None:
    pooled, seen = pool_scales(*ramp(4, 4), (4, 4), [(4, 4), (2, 2)])
    assert pooled.flatten().tolist() == [*map(float, range(16)), 2.5, 4.5, 10.5, 12.5]
    assert seen.all()


def test_max_takes_the_largest_of_each_window() -> None:
    pooled, _ = pool_scales(*ramp(4, 4), (4, 4), [(2, 2)], "max")
    assert pooled.flatten().tolist() == [5.0, 7.0, 13.0, 15.0]


def test_uneven_grids_pool_by_rows_and_columns() -> None:
    pooled, _ = pool_scales(*ramp(2, 6), (2, 6), [(1, 3), (2, 1)])
    assert pooled.flatten().tolist() == [3.5, 5.5, 7.5, 2.5, 8.5]


@pytest.mark.parametrize(("pool", "expected"), [("avg", 1.0), ("max", 2.0)])
def test_padding_counts_for_nothing(pool: str, expected: float) -> None:
    tokens, mask = ramp(1, 6)
    mask[..., 3:] = False
    tokens[..., 3:, :] = torch.nan
    tokens.requires_grad_()
    pooled, seen = pool_scales(tokens, mask, (1, 6), [(1, 2)], pool)
    assert pooled.flatten().tolist() == [expected, 0.0]
    assert seen.flatten().tolist() == [True, False]
    half, half_seen = pool_scales(tokens, mask, (1, 6), [(1, 1)], pool)
    assert half.flatten().tolist() == [expected] and half_seen.all()
    (pooled.sum() + half.sum()).backward()
    assert tokens.grad is not None and tokens.grad.isfinite().all()


def test_items_do_not_mix() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(2, 3, 12, 5)
    mask = torch.ones(2, 3, 12, dtype=torch.bool)
    together, _ = pool_scales(tokens, mask, (3, 4), [(3, 4), (1, 2)])
    alone, _ = pool_scales(tokens[1:, 2:], mask[1:, 2:], (3, 4), [(3, 4), (1, 2)])
    assert torch.equal(together[1, 2], alone[0, 0])
    assert together.shape == (2, 3, 14, 5)
