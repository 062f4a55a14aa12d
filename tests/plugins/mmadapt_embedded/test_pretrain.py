"""The pretraining script: a few steps of each part write a folder that loads."""

import json

import pytest
from safetensors import safe_open
from transformers import AutoModel

from mmadapt_embedded import pretrain, pretrain_ast, pretrain_lm, pretrain_vit

MODULES = {"lm": pretrain_lm, "vit": pretrain_vit, "ast": pretrain_ast}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    for module in MODULES.values():
        monkeypatch.setattr(module, "STEPS", 2)
        monkeypatch.setattr(module, "BATCH", 2)
        monkeypatch.setattr(module, "MEASURED", 4, raising=False)


@pytest.mark.parametrize("name", MODULES)
def test_two_steps_write_a_folder_that_loads(name, tmp_path):
    pretrain.main([name, "--output", str(tmp_path)])
    folder = tmp_path / name
    assert json.loads((folder / "pretraining.json").read_text())["part"] == name
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {file.get_tensor(key).dtype.itemsize for key in file.keys()} == {2}  # noqa: SIM118
    AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("name", MODULES)
def test_the_seed_decides_the_weights(name, tmp_path):
    for folder, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        pretrain.main([name, "--output", str(tmp_path / folder), "--seed", seed])
    first, same, other = (
        (tmp_path / folder / name / "model.safetensors").read_bytes() for folder in "abc"
    )
    assert first == same != other
