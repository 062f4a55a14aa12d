"""Configurations that a recipe brings along stand in for the hub's, and are said to."""

from __future__ import annotations

import json

import pytest
from transformers import LlamaConfig

from mmadapt.checking.dry_run import dry_run
from mmadapt.configurations import Configurations
from mmadapt.errors import ModelError, RecipeError
from mmadapt.recipe import load_recipe

RECIPE = """\
name: offline
configs: configs
lm: {model: somebody/some-lm}
encoders:
  image: {use: vit, model: "embedded:vit"}
fusion: {use: adem, scales: [[4, 4]], bottleneck: null}
head: {use: caption}
"""


@pytest.fixture
def recipe_file(tmp_path):
    """A recipe whose LM nobody has, and its configuration beside it."""
    folder = tmp_path / "configs" / "somebody" / "some-lm"
    folder.mkdir(parents=True)
    sizes = {"vocab_size": 50, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3}
    config = LlamaConfig(**sizes, num_attention_heads=4)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    file = tmp_path / "offline.yaml"
    file.write_text(RECIPE)
    return file


def test_the_folder_stands_in_for_the_hub(recipe_file):
    report = dry_run(load_recipe(recipe_file))
    assert dict(report.joints)["adem memory['values']"] == [2, 16, 48]
    assert dict(report.joints)["logits"] == [2, 18, 50]  # "Image:" is a word, the CLS a token
    assert any("somebody/some-lm are read from" in note for note in report.notes)
    assert any("no tokenizer" in note for note in report.notes)


def test_it_is_found_beside_the_file_that_names_it(recipe_file, tmp_path):
    child = tmp_path / "deeper" / "child.yaml"
    child.parent.mkdir()
    child.write_text("extends: ../offline.yaml\nname: child\n")
    place = Configurations(load_recipe(child)).place("somebody/some-lm")
    assert (tmp_path / "deeper" / place / "config.json").is_file()


def test_other_models_keep_their_id(recipe_file):
    files = Configurations(load_recipe(recipe_file))
    assert files.place("embedded:vit") == "embedded:vit"
    assert files.notes() == []


def test_null_asks_the_hub(recipe_file, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="somebody/some-lm"):
        dry_run(load_recipe(recipe_file, ["configs=null"]))


def test_a_missing_folder_is_an_error_at_its_line(recipe_file):
    recipe_file.write_text(RECIPE.replace("configs: configs", "configs: nowhere"))
    with pytest.raises(RecipeError, match=r"offline\.yaml:2:10: configs: there is no folder"):
        dry_run(load_recipe(recipe_file))
