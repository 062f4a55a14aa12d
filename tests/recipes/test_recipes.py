"""Every recipe that the project ships passes its own dry run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmadapt.checking.dry_run import dry_run
from mmadapt.composition import compose
from mmadapt.recipe import load_recipe
from mmadapt.train import train

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(set(FOLDER.rglob("*.yaml")) - set((FOLDER / "paper").rglob("*.yaml")))


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_passes_the_dry_run(path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("mmadapt.checking.dry_run.previews", lambda *_: [])  # renders nothing
    report = dry_run(load_recipe(path))
    assert report.trainable_parameters > 0


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_the_first_line_says_how_to_run_it(path):
    folder = path.parent.name
    command = folder if folder in ("bench", "compare") else "train"
    first = f"# mmadapt {command} recipes/"
    first += "compare/{" if folder == "compare" else str(path.relative_to(FOLDER))
    assert path.read_text().startswith("# " if path.stem == "base" else first)


def _tiny(path: Path, tmp_path: Path) -> list[str]:
    """Overrides: two steps on few samples; a dense adapter where experts start from one."""
    splits = ("train", "validation", "test")
    tiny = ["train.max_steps=2", "train.per_device_train_batch_size=2", "evaluate.blind=[]"]
    tiny += [f"data.{split}.count=2" for split in splits]
    if "upcycle_from" in path.read_text():
        compose(FOLDER / "video_qa_evlm.yaml").save_pretrained(tmp_path / "dense")
        tiny.append(f"fusion.moe.upcycle_from={tmp_path / 'dense'}")
    return tiny


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_trains_and_scores_without_network(path, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("MMADAPT_CACHE", str(tmp_path / "cache"))
    result = train(load_recipe(path, _tiny(path, tmp_path)), tmp_path / "run", quiet=True)
    assert result["steps"] == 2
    assert 0 <= result["metrics"]["exact_match"] <= 1
