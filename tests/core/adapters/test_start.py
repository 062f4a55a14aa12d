"""Training that starts from the adapter of an earlier stage."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from mmadapt.adapters.start import start_from
from mmadapt.checking.dry_run import dry_run
from mmadapt.composition import compose
from mmadapt.errors import RecipeError
from mmadapt.recipe import load_recipe
from mmadapt.train import train
from tests import world

DENSE = {"use": "evlm", "num_levels": 2, "num_tokens": 2}
EXPERTS = {**DENSE, "moe": {"num_replicas": 2, "num_slices": 2, "top_k": 2}}


def recipe(fusion, **train_keys):
    return load_recipe(
        {
            "name": "stage",
            "lm": {"model": "embedded:lm"},
            "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
            "fusion": fusion,
            "head": {"use": "caption"},
            "train": {"unfreeze": [{"encoder": "image", "blocks": "2:"}], **train_keys},
        }
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The adapter of a first stage, none of its values those of a fresh model."""
    folder = tmp_path_factory.mktemp("first") / "adapter"
    model = compose(recipe(DENSE))
    with torch.no_grad():
        for parameter in model.trainable_parameters().values():
            parameter.add_(1)
    model.save_pretrained(folder)
    return folder


def started(fusion, folder, **keys):
    later = recipe(fusion, start_from=str(folder), **keys)
    model = compose(later)
    start_from(model, later)
    return model.adapter_state_dict()


@pytest.mark.parametrize("level", ["adapter", "run"])
def test_the_weights_are_those_of_the_earlier_stage(first, level):
    found = started(DENSE, first if level == "adapter" else first.parent)
    expected = load_file(first / "adapter.safetensors")
    assert found.keys() == expected.keys()
    assert any(name.startswith("encoders.image") for name in found)
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_a_fusion_that_its_own_options_started_keeps_its_weights(first):
    fusion = {**EXPERTS, "moe": {**EXPERTS["moe"], "upcycle_from": str(first)}}
    expected = load_file(first / "adapter.safetensors")
    found = started(fusion, first)
    blocks = [name for name in found if name.startswith("encoders.image")]
    assert blocks and all(torch.equal(found[name], expected[name]) for name in blocks)
    dense = expected["fusions.evlm.blocks.0.mlp.up.weight"]
    assert torch.equal(found["fusions.evlm.blocks.0.mlp.world.up.weight"], dense)


@pytest.mark.parametrize(
    ("fusion", "says"),
    [(EXPERTS, r"missing: .*experts"), ({**DENSE, "num_tokens": 3}, r"tokens\.shared is \(2, ")],
)
def test_an_adapter_that_does_not_fit_is_an_error(first, fusion, says):
    with pytest.raises(RecipeError, match=rf"train\.start_from: .*does not fit.*{says}"):
        started(fusion, first)


def test_a_folder_without_an_adapter_is_an_error(tmp_path):
    with pytest.raises(RecipeError, match=r"train\.start_from: .*earlier stage first"):
        started(DENSE, tmp_path)


def test_check_tells_of_a_stage_that_is_not_there(first, tmp_path):
    for folder, count in ((tmp_path, 1), (first, 0)):
        found = dry_run(recipe(DENSE, start_from=str(folder)))
        assert sum("training will not start" in note for note in found.notes) == count
        told = [text for text in found.obstacles if "train.start_from" in text]
        assert len(told) == count and not any("; " in text for text in told)


def test_a_run_starts_from_it(tmp_path):
    lm = world.save_lm(tmp_path / "lm")
    steps = {"max_steps": 2, "use_cpu": True}
    train(world.recipe(lm, train=steps), tmp_path / "one", allow_code=True, quiet=True)
    still = {**steps, "learning_rate": 1e-30, "start_from": str(tmp_path / "one"), "seed": 9}
    train(world.recipe(lm, train=still), tmp_path / "two", allow_code=True, quiet=True)
    one, two = (load_file(tmp_path / n / "adapter/adapter.safetensors") for n in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
