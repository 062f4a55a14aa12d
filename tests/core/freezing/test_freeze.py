"""Frozen parts: no gradients, no dropout wherever a family keeps it, and all of it given back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmadapt.testing.case import with_labels
from tests.core.test_model import batch_for, join
from tests.tiny import tiny_lm

# Where they keep it: attributes, Dropout modules, configurations read at each forward (Falcon).
DROPOUT = {
    "llama": {"attention_dropout": 0.5},
    "opt": {"dropout": 0.5, "attention_dropout": 0.5, "layerdrop": 0.0},
    "gpt2": {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5},
    "gpt_neox": {"hidden_dropout": 0.5, "attention_dropout": 0.5},
    "falcon": {"hidden_dropout": 0.5, "attention_dropout": 0.5},
    "phi3": {"resid_pdrop": 0.5, "embd_pdrop": 0.5},
    "stablelm": {"hidden_dropout": 0.5, "attention_dropout": 0.5},
}


def losses(model, batch, count=2):
    torch.manual_seed(1)
    return [float(model(**batch).loss.detach()) for _ in range(count)]


@pytest.mark.parametrize("family", DROPOUT)
def test_a_frozen_lm_drops_nothing_in_train_mode(family):
    model = join(lm=tiny_lm(family, **DROPOUT[family]))
    batch = with_labels(batch_for(model))
    calm = losses(model.eval(), batch)[0]
    assert losses(model.train(), batch) == pytest.approx([calm, calm], abs=1e-5)
    assert all(part.training for part in model.lm.modules())


@pytest.mark.parametrize("family", DROPOUT)
def test_dropout_lives_where_the_recipe_wants_it(family):
    model = join(lm=tiny_lm(family, **DROPOUT[family]), lm_dropout=True).train()
    one, other = losses(model, with_labels(batch_for(model)))
    assert one != other


@pytest.mark.parametrize("family", DROPOUT)
def test_the_configuration_is_the_lms_own_outside_training(family):
    lm = tiny_lm(family, **DROPOUT[family])
    before = lm.config.to_dict()
    model = join(lm=lm)
    assert lm.config.to_dict() == before
    model.train()
    assert lm.config.to_dict() != before
    model.train()  # twice, as a trainer does at every step
    model.eval()
    assert lm.config.to_dict() == before


@pytest.mark.parametrize("family", DROPOUT)
def test_detaching_gives_dropout_back(family):
    lm = tiny_lm(family, **DROPOUT[family])
    ids = torch.arange(4, 12)[None]

    def outputs():
        torch.manual_seed(3)
        return lm.train()(input_ids=ids).logits

    before, config = outputs(), lm.config.to_dict()
    model = join(lm=lm).train()
    assert not torch.equal(outputs(), before)
    model.attachment.detach()
    assert torch.equal(outputs(), before) and lm.config.to_dict() == config


class StochasticDepth(nn.Module):
    def __init__(self):
        super().__init__()
        self.p = 0.5


def test_what_is_no_dropout_keeps_its_value():
    from mmadapt.freezing.freeze import freeze

    module = nn.Module()
    module.a, module.b, module.c = nn.Dropout(0.3), StochasticDepth(), nn.Module()
    module.drop_path_rate, module.temperature, module.droplets, module.use_drop = 0.2, 0.7, 3, True
    module.c.p = 0.4
    undo = freeze(module)
    found = (module.a.p, module.b.p, module.drop_path_rate)
    assert found == (0.0, 0.0, 0.0)
    assert (module.temperature, module.droplets, module.use_drop, module.c.p) == (0.7, 3, True, 0.4)
    undo()
    assert (module.a.p, module.b.p, module.drop_path_rate) == (0.3, 0.5, 0.2)
