import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmadapt.compare.reproduction import reproduce
from mmadapt.errors import MMAdaptError
from mmadapt.train import train
from tests import world


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduce")
    world.save_lm(folder / "lm")
    splits = {s: {"use": "tests.world:ColourSource", "count": 8} for s in ("train", "test")}
    recipe = world.recipe(folder / "lm", data=splits, train={"max_steps": 2})
    train(recipe, folder / "run", allow_code=True, quiet=True)
    return folder / "run"


def test_a_run_on_one_machine_is_repeated_to_the_bit(run, tmp_path):
    found = reproduce(run, tmp_path / "again", allow_code=True, quiet=True)
    assert found.is_exact and found.largest_difference == 0
    assert found.versions == {} and found.models == []
    assert str(found).endswith("\nexact")
    assert (tmp_path / "again" / "adapter").is_dir()


def test_what_differs_is_named(run, tmp_path):
    import shutil

    first = tmp_path / "first"
    shutil.copytree(run, first)
    report = json.loads((first / "metrics.json").read_text())
    report["metrics"]["Exact"] = -1.0
    report["settings"]["versions"]["torch"] = "0.1"
    (first / "metrics.json").write_text(json.dumps(report))
    weights = load_file(first / "adapter" / "adapter.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + 0.5 * torch.ones_like(weights[name])
    save_file(weights, first / "adapter" / "adapter.safetensors", {"format": "pt"})
    bases = json.loads((first / "adapter" / "base_models.json").read_text())
    bases["models"]["lm"]["values"] = "other"
    (first / "adapter" / "base_models.json").write_text(json.dumps(bases))
    found = reproduce(first, allow_code=True, quiet=True)
    assert found.largest_difference == pytest.approx(0.5)
    assert found.scores["metrics.Exact"][0] == -1.0 and not found.is_exact
    assert found.versions["torch"] == ("0.1", torch.__version__.split("+")[0])
    assert found.models == ["lm"] and (tmp_path / "first-reproduced").is_dir()
    text = str(found)
    assert "version of torch: 0.1 then" in text and "base model lm" in text
    json.dumps(found.to_dict())


def test_an_unfinished_run_cannot_be_repeated(tmp_path):
    with pytest.raises(MMAdaptError, match="holds no finished run"):
        reproduce(tmp_path)
