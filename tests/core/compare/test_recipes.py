import json
from types import SimpleNamespace

import pytest

from mmadapt.compare import Plan, compare_recipes, recipes
from mmadapt.compare.table import table
from mmadapt.errors import MMAdaptError, RecipeError
from mmadapt.recipe import load_recipe, resolve

BASE = {
    "lm": {"model": "embedded:lm"},
    "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
    "head": {"use": "caption"},
    "data": {s: {"use": "shapes", "split": s} for s in ("train", "validation", "test")},
    "train": {"max_steps": 3, "learning_rate": 0.01},
    "evaluate": {"metrics": ["exact_match"], "blind": ["removed"]},
}


def resolved(name, fusion="prefix", **blocks):
    recipe = BASE | {"name": name, "fusion": {"use": fusion}} | blocks
    return resolve(load_recipe(recipe))


@pytest.fixture
def trained(monkeypatch):
    """Stands in for `mmadapt train`: a score that depends on recipe, learning rate and seed."""
    commands = []

    def run(command, **_):
        folder = command[command.index("--output-dir") + 1]
        changes = dict(item.split("=") for item in command if item.startswith("train."))
        rate, seed = float(changes["train.learning_rate"]), int(changes["train.seed"])
        quality = {"0.003": 0.5, "0.01": 0.6, "0.03": 0.4}[f"{rate:g}"] + 0.01 * seed
        commands.append(command)
        from pathlib import Path

        assert Path(folder).exists() == ("--resume" in command)
        Path(folder).mkdir(parents=True, exist_ok=True)
        report = {
            "name": "x",
            "metrics": {"exact_match": quality},
            "blind": {"exact_match": 0.1},
            "trainable_parameters": 7,
            "seconds_by_phase": {"train": 2.0},
            "peak_memory_bytes": {"process": 2**20},
        }
        (Path(folder) / "metrics.json").write_text(json.dumps(report))
        line = {"id": "s", "scores": {"exact_match": quality}}
        (Path(folder) / "predictions.jsonl").write_text(json.dumps(line))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(recipes.subprocess, "run", run)
    return commands


def test_each_recipe_is_tuned_alike_and_reported_over_seeds(tmp_path, trained):
    said = []
    plan = Plan(tmp_path, seeds=(0, 1, 2), overrides=["train.warmup_steps=1"])
    first, second = compare_recipes(
        ["a.yaml", "b.yaml"], [resolved("a"), resolved("b", "epalm")], plan, said.append
    )
    assert first.learning_rate == second.learning_rate == 0.01
    assert first.tried == {"0.003": 0.5, "0.01": 0.6, "0.03": 0.4}
    assert first.values == pytest.approx([0.6, 0.61, 0.62])
    assert 0.6 <= first.quality.low < first.quality.mean < first.quality.high <= 0.62
    assert first.blind == {"blind": pytest.approx(0.1)}
    assert len(trained) == 2 * (3 + 3) and len(said) == 12
    tuning, final = trained[0], trained[3]
    assert "data.test=null" in tuning and "data.test=null" not in final
    assert all("train.warmup_steps=1" in command for command in trained)
    lines = table([first, second], []).splitlines()
    assert lines[1].split()[:3] == ["a", "0.610", "[0.600,"]


def test_runs_that_are_there_are_only_resumed(tmp_path, trained):
    said = []
    for _ in range(2):  # `train --resume` keeps a finished run, and refuses one of another recipe
        compare_recipes(["a.yaml"], [resolved("a")], Plan(tmp_path, seeds=(0,)), said.append)
    assert ["--resume" in command for command in trained] == [False] * 4 + [True] * 4
    assert [text.endswith("finished before") for text in said] == [False] * 4 + [True] * 4


def test_one_learning_rate_needs_no_tuning(tmp_path, trained):
    plan = Plan(tmp_path, seeds=(0,), factors=(0.3,))
    (entry,) = compare_recipes(["a.yaml"], [resolved("a")], plan, lambda text: None)
    assert entry.learning_rate == pytest.approx(0.003) and entry.tried == {}
    assert len(trained) == 1


def test_a_run_that_fails_is_named(tmp_path, monkeypatch):
    failed = SimpleNamespace(returncode=2, stderr="loading\nerror: no such data")
    monkeypatch.setattr(recipes.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(MMAdaptError, match=r"lr0.003 failed: error: no such data"):
        compare_recipes(["a.yaml"], [resolved("a")], Plan(tmp_path), lambda text: None)


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ({"train": {"max_steps": 4, "learning_rate": 0.01}}, "differ in train.max_steps"),
        ({"lm": {"model": "embedded:lm", "dtype": "bfloat16"}}, "differ in lm"),
        ({"head": {"use": "caption", "prompt": "x"}}, "differ in head"),
        ({"evaluate": {"metrics": ["cider"]}}, "differ in evaluate.metrics"),
        ({"evaluate": {}}, "needs data.validation"),
        ({"data": {"train": {"use": "shapes", "split": "train"}}}, "needs data.validation"),
    ],
)
def test_unfair_comparisons_are_refused(tmp_path, blocks, says):
    with pytest.raises(RecipeError, match=says):
        compare_recipes(["a", "b"], [resolved("a"), resolved("b", **blocks)], Plan(tmp_path), print)
    with pytest.raises(RecipeError, match="two recipes are named 'a'"):
        compare_recipes(["a", "b"], [resolved("a"), resolved("a")], Plan(tmp_path), print)
