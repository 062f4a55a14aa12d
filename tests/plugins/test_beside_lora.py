"""LoRA beside every fusion: one line in the recipe."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from mmadapt.composition import compose, load
from mmadapt.train import train
from tests import world

pytest.importorskip("peft")
FUSIONS = {
    "adem": {"scales": [[2, 2], [1, 1]], "beta": 1.0, "alpha": 1.0, "bottleneck": 4},
    "epalm": {"levels": 2, "prompt_length": 2},
    "evlm": {"num_levels": 2, "num_tokens": 2, "head_dim": 8},
    "prefix": {"connector": "linear", "level": -1},
}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_it_trains_is_saved_and_comes_back_to_the_bit(fusion, tmp_path):
    lm = world.save_lm(tmp_path / "lm")
    recipe = world.recipe(lm, train={"max_steps": 2})
    recipe["lm"]["lora"] = {"r": 2, "alpha": 4}
    recipe["fusion"] = {"use": fusion, **FUSIONS[fusion]}
    result = train(recipe, tmp_path / "run", allow_code=True, quiet=True)
    saved = load_file(tmp_path / "run" / "adapter" / "adapter.safetensors")
    lora = {name for name in saved if ".lora_" in name}
    assert len(lora) == 2 * 7 * 4 and lora < saved.keys()  # A and B of 7 Linear in 4 layers
    assert any(saved[name].any() for name in lora if "lora_B" in name)
    assert all(name.startswith("fusions.") for name in saved.keys() - lora)
    assert result["trainable_parameters"] <= sum(value.numel() for value in saved.values())

    model = load(tmp_path / "run", allow_code=True)
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in saved.items())
    ids = torch.tensor([[1, 4]])
    media = {"image": {"values": torch.ones(1, 1, 5, 8), "item": torch.zeros(1, 1).long()}}
    with torch.no_grad():
        answers = model(ids, media=media).logits
        again = load(tmp_path / "run" / "adapter", allow_code=True)
        assert torch.equal(again(ids, media=media).logits, answers)
        assert not torch.equal(
            compose(recipe, allow_code=True).eval()(ids, media=media).logits, answers
        )
        bare = type(model.lm).from_pretrained(lm)(ids).logits
        model.attachment.detach()
        assert torch.equal(model.lm(ids).logits, bare)
