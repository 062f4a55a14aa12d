"""How a head's loss is counted."""

import pytest
import torch

from mmadapt.contracts import Head, HeadConfig
from mmadapt.loss import batch_loss
from mmadapt.types import State, TextInputs

LABELS = torch.tensor([[-100, 5, 6, 7], [-100, -100, -100, -100], [3, -100, -100, 8]])


def loss_of(num_items=None, **options):
    torch.manual_seed(0)
    logits, targets = torch.randn(1, 4, 9), torch.tensor([5, 6, 7, 8])
    text = TextInputs(LABELS, LABELS == LABELS, LABELS, torch.zeros(3, 1, dtype=torch.long))
    total = torch.nn.functional.cross_entropy(logits[0], targets, reduction="sum")
    head = Head(HeadConfig(**options))
    return float(batch_loss(logits, targets, num_items, State(text), head, []) / total)


def test_by_default_a_token_is_an_item():
    assert loss_of() == pytest.approx(1 / 4)
    assert loss_of(loss_scale=0.1) == pytest.approx(0.1 / 4)
    assert loss_of(num_items=8) == pytest.approx(1 / 8)


def test_a_sample_is_an_item_where_it_has_anything_to_predict():
    # eP-ALM: a sample's token losses are summed, averaged over samples and scaled by 0.1.
    assert loss_of(loss="sum_per_sample") == pytest.approx(1 / 2)
    assert loss_of(loss="sum_per_sample", loss_scale=0.1) == pytest.approx(0.1 / 2)
    assert loss_of(loss="sum_per_sample", num_items=torch.tensor(5)) == pytest.approx(1 / 5)
