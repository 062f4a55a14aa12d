"""One token for each slot."""

from __future__ import annotations

import torch

from mmadapt.types import Features
from mmadapt_epalm.pooling import pool_items, pool_tokens

NAN = float("nan")


def features() -> Features:
    """Two samples of two items of CLS, register and two patches; sample 1 lacks an item."""
    levels = tuple(torch.randn(2, 2, 4, 3) for _ in range(2))
    mask = torch.ones(2, 2, 4, dtype=torch.bool)
    mask[0, 1, 3] = False
    levels[0][0, 1, 3] = levels[1][0, 1, 3] = NAN
    mask[1, 1] = False
    levels[0][1, 1] = levels[1][1, 1] = NAN
    return Features(levels, mask, torch.tensor([[0, 0], [0, -1]]), 2, (1, 2))


def test_cls_is_the_first_token() -> None:
    given = features()
    pooled = pool_tokens(given, "cls")
    for level, own in zip(given.levels, pooled.levels, strict=True):
        assert torch.equal(own[0], level[0, :, :1])
    assert pooled.mask.tolist() == [[[True], [True]], [[True], [False]]]


def test_mean_leaves_out_prefix_and_padding() -> None:
    given = features()
    pooled = pool_tokens(given, "mean")
    for level, own in zip(given.levels, pooled.levels, strict=True):
        torch.testing.assert_close(own[0, 0, 0], (level[0, 0, 2] + level[0, 0, 3]) / 2)
        assert torch.equal(own[0, 1, 0], level[0, 1, 2])
        assert not own.isnan().any()


def test_items_become_one_without_those_that_are_missing() -> None:
    given = features()
    pooled = pool_items(pool_tokens(given, "cls"))
    level = given.levels[0]
    torch.testing.assert_close(pooled.levels[0][0, 0, 0], level[0, :, 0].mean(dim=0))
    assert torch.equal(pooled.levels[0][1, 0, 0], level[1, 0, 0])
    assert pooled.item.tolist() == [[0], [0]]


def test_a_sample_without_items_has_no_slot() -> None:
    given = features()
    given.item[1] = -1
    pooled = pool_items(pool_tokens(given, "cls"))
    assert pooled.item.tolist() == [[0], [-1]]
    assert not pooled.levels[0][1].any()
