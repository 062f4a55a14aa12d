"""LoRA in the LM: it trains beside the fusion and leaves no trace."""

from __future__ import annotations

import pytest
import torch

from mmadapt.errors import AttachError, ModelError
from mmadapt.testing.case import with_labels
from tests.core.test_model import batch_for, join, toy
from tests.tiny import tiny_lm

pytest.importorskip("peft")
FAMILIES = ["llama", "gpt2", "opt", "falcon", "gpt_neox"]


def noisy(model):
    """LoRA starts at zero; opened, it says something."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_and_the_fusion_train_and_nothing_else(family):
    model = noisy(join(family, lora={"r": 2})).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(**with_labels(batch_for(model))).loss.backward()
    trained = model.trainable_parameters()
    found = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert found == set(trained) and {n.split(".")[0] for n in found} == {"fusions", "lm"}
    torch.optim.SGD(trained.values(), lr=0.1).step()
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == set(trained)


@pytest.mark.parametrize("family", FAMILIES)
def test_detaching_gives_the_lm_back(family):
    lm = tiny_lm(family)
    ids = torch.arange(4, 12)[None]
    state, bare = {k: v.clone() for k, v in lm.state_dict().items()}, lm(input_ids=ids).logits
    kinds, attributes = [type(part) for part in lm.modules()], set(vars(lm))
    model = noisy(join(lm=lm, lora={"r": 2}))
    assert not torch.equal(lm(input_ids=ids).logits, bare)
    model.attachment.detach()
    assert torch.equal(lm(input_ids=ids).logits, bare)
    assert [type(part) for part in lm.modules()] == kinds and set(vars(lm)) == attributes
    assert all(torch.equal(v, state[k]) for k, v in lm.state_dict().items())
    assert lm.state_dict().keys() == state.keys()


def test_hooks_see_what_lora_makes_of_a_layer():
    """OPT's MLP is two Linear modules, whose input and output are the fusion's sites."""
    seen = {}

    class Looking(type(toy(tiny_lm("opt"), join("opt").encoders))):
        def mlp_output(self, i, x, y, state):
            seen[i] = y.detach()
            return y

    def make(lm, encoders):
        return [toy(lm, encoders, cls=Looking, sites=("mlp_output",), token=False)]

    ids = torch.arange(4, 12)[None]
    outputs = []
    for lora in (None, {"r": 2}):
        torch.manual_seed(0)
        noisy(join("opt", fusions=make, lora=lora))(input_ids=ids)
        outputs.append(seen[0].clone())
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)


def test_small_steps_are_not_lost_in_an_lm_of_bfloat16():
    model = join(lm=tiny_lm("llama").to(torch.bfloat16), lora={"r": 2})
    lora = [p for n, p in model.trainable_parameters().items() if "lora" in n]
    assert lora and {p.dtype for p in lora} == {torch.float32}
    assert model(**with_labels(batch_for(model))).loss.isfinite()


def test_its_dropout_is_its_own():
    model = noisy(join(lora={"r": 2, "dropout": 0.5})).train()
    batch = with_labels(batch_for(model))
    assert model(**batch).loss != model(**batch).loss
    model.eval()
    assert model(**batch).loss == model(**batch).loss


def test_target_modules_that_are_not_there_are_one_error():
    with pytest.raises(ModelError, match=r"lm\.lora: Target modules .*nothing.* not found"):
        join(lora={"target_modules": ["nothing"]})


def test_a_fusion_that_cannot_be_attached_leaves_no_lora_behind():
    lm = tiny_lm("llama")
    keys = set(lm.state_dict())

    class Beyond(type(toy(lm, join().encoders))):
        def layers(self, num_layers):
            return [99]

    with pytest.raises(AttachError, match="layer 99"):
        join(lm=lm, fusions=lambda lm, e: [toy(lm, e, cls=Beyond)], lora={"r": 2})
    assert set(lm.state_dict()) == keys
