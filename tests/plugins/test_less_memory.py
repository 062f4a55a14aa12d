"""Training with less memory: layers computed again, and an LM in half precision, by each fusion."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.llama.modeling_llama import LlamaMLP

from mmadapt.recipe import load_recipe
from mmadapt.train import train
from tests.plugins.test_batch_sizes import FUSIONS

STEPS = 2


def run(folder, fusion, **keys):
    """Losses of the steps, and the adapter."""
    source = {"use": "shapes", "media": "image", "split": "train", "count": 8}
    lm = {"model": "embedded:lm"} | keys.pop("lm", {})
    arguments = {"max_steps": STEPS, "per_device_train_batch_size": 4, "logging_steps": 1}
    recipe = load_recipe(
        {
            "name": "less",
            "lm": lm,
            "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
            "fusion": FUSIONS[fusion],
            "head": {"use": "caption"},
            "data": {"train": source},
            "train": {**arguments, "learning_rate": 3e-3, "use_cpu": True, **keys},
        }
    )
    result = train(recipe, folder, quiet=True)
    return result["train_loss"], load_file(folder / "adapter" / "adapter.safetensors")


@pytest.fixture
def mlps(monkeypatch):
    """The dtype of every input that an MLP of the LM was run on."""
    seen, forward = [], LlamaMLP.forward

    def watched(self, x):
        seen.append(x.dtype)
        return forward(self, x)

    monkeypatch.setattr(LlamaMLP, "forward", watched)
    return seen


@pytest.mark.parametrize("fusion", FUSIONS)
def test_layers_that_are_computed_again_train_the_same_adapter(fusion, tmp_path, mlps):
    loss, whole = run(tmp_path / "whole", fusion)
    layers = len(mlps)
    again, found = run(tmp_path / "again", fusion, gradient_checkpointing=True)
    # eP-ALM's lower layers have no gradient, so there is nothing to compute again.
    assert 1.4 * layers < len(mlps) - layers <= 2 * layers
    assert again == pytest.approx(loss, rel=1e-6)
    for name, tensor in whole.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_frozen_lm_in_bfloat16_trains_an_adapter_in_float32(fusion, tmp_path, mlps):
    loss, whole = run(tmp_path / "whole", fusion)
    assert set(mlps) == {torch.float32}
    mlps.clear()
    half, found = run(tmp_path / "half", fusion, lm={"dtype": "bfloat16"})
    assert set(mlps) == {torch.bfloat16}
    assert half == pytest.approx(loss, rel=0.03)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert found.keys() == whole.keys()
