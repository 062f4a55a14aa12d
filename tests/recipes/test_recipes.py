"""Every recipe that the project ships passes its own dry run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmadapt.checking import dry_run
from mmadapt.recipe import load_recipe

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(set(FOLDER.rglob("*.yaml")) - set((FOLDER / "paper").rglob("*.yaml")))


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_passes_the_dry_run(path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("mmadapt.checking._previews", lambda *_: [])  # renders nothing
    report = dry_run(load_recipe(path))
    assert report.trainable_parameters > 0


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_the_first_line_says_how_to_run_it(path):
    command = "bench" if path.parent.name == "bench" else "train"
    first = f"# mmadapt {command} recipes/{path.relative_to(FOLDER)}"
    assert path.read_text().startswith("# " if path.stem == "base" else first)
