import json
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

from mmadapt.errors import MediaError, MMAdaptError, RecipeError
from mmadapt.evaluate import evaluate_adapter
from mmadapt.train import train
from tests import world

BLIND = {"blind": ["removed", "swapped", "trained"]}


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


def run(recipe, folder, **options):
    return train(recipe, folder, allow_code=True, quiet=True, **options)


@pytest.fixture(scope="module")
def finished(lm, tmp_path_factory):
    """A run long enough to learn the colours, with everything a recipe can ask for."""
    folder = tmp_path_factory.mktemp("runs") / "full"
    validation = {"use": "tests.world:ColourSource", "start": 50, "count": 8}
    recipe = world.recipe(
        lm, data={"validation": validation}, train={"max_steps": 120}, evaluate=BLIND
    )
    return folder, recipe, run(recipe, folder)


def test_a_run_learns_what_only_the_media_tell(finished):
    _, _, result = finished
    assert result["metrics"]["Exact"] == 1.0  # on media it never saw
    assert result["blind"]["Exact"] <= 0.5
    assert result["blind_swapped"]["Exact"] == 0.0
    assert result["blind_trained"]["Exact"] <= 0.5


def test_the_result_says_what_was_trained_and_how(finished):
    _, _recipe, result = finished
    keys = {"metrics", "blind", "blind_swapped", "blind_trained", "trainable_parameters"}
    keys |= {"total_parameters", "seconds", "peak_memory_bytes", "settings", "steps", "train_loss"}
    assert keys <= set(result)
    assert 0 < result["trainable_parameters"] < result["total_parameters"]
    assert result["steps"] == 120 and result["best_step"] in (30, 60, 90, 120)
    settings = result["settings"]
    assert settings["seed"] == 3 and settings["split"] == "test" and settings["samples"] == 16
    assert settings["blind_trained"] == {"media": "zeros", "steps": 30}


def test_the_folder_holds_the_adapter_and_the_results(finished):
    folder, _, result = finished
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == {k: v for k, v in result.items() if k != "predictions"}
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").open()]
    assert lines == result["predictions"]
    assert lines[0] == {
        "id": "s100",
        "answer": "red",
        "references": ["red"],
        "scores": {"tests.world:Exact": 1.0},
    }
    log = [json.loads(line) for line in (folder / "log.jsonl").open()]
    assert any("eval_Exact" in record for record in log) and log[-1]["step"] == 120
    saved = load_file(folder / "adapter" / "adapter.safetensors")
    assert all(name.startswith("fusions.") for name in saved)


def test_the_saved_adapter_gives_the_reported_scores(finished, tmp_path):
    folder, _, result = finished
    again = evaluate_adapter(folder, output_dir=tmp_path / "out", allow_code=True)
    assert again["metrics"] == result["metrics"] and again["blind"] == result["blind"]
    assert again["blind_swapped"]["Exact"] == 0.0 and again["split"] == "test"
    assert again["predictions"] == result["predictions"]
    assert (
        json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"] == again["metrics"]
    )
    other = evaluate_adapter(folder, split="validation", allow_code=True)
    assert other["settings"]["samples"] == 8


def test_splits_and_metrics_that_are_not_there_are_named(finished):
    folder, _, _ = finished
    with pytest.raises(RecipeError, match="no split 'dev'; it has"):
        evaluate_adapter(folder, split="dev", allow_code=True)
    with pytest.raises(RecipeError, match=r"evaluate\.metrics is empty"):
        evaluate_adapter(folder, ["evaluate.metrics=[]"], allow_code=True)


def test_a_used_folder_is_an_error_that_names_the_way_on(finished, capsys):
    folder, recipe, result = finished
    with pytest.raises(MMAdaptError, match="holds a run already; continue it with --resume"):
        run(recipe, folder)
    assert run(recipe, folder, resume=True) == result
    changed = {**recipe, "train": {**recipe["train"], "learning_rate": 1e-4}}
    with pytest.raises(MMAdaptError, match=r"another recipe: train\.learning_rate differ"):
        run(changed, folder, resume=True)


def test_two_runs_of_one_seed_are_one(lm, tmp_path):
    first, second, other = (
        run(world.recipe(lm, train={"seed": seed}), tmp_path / name)
        for seed, name in ((3, "a"), (3, "b"), (4, "c"))
    )
    assert first["train_loss"] == second["train_loss"] != other["train_loss"]
    assert first["predictions"] == second["predictions"]
    a, b = (load_file(tmp_path / name / "adapter" / "adapter.safetensors") for name in "ab")
    assert all((a[name] == b[name]).all() for name in a)


def test_a_run_without_test_data_or_metrics_trains_and_saves(lm, tmp_path):
    recipe = world.recipe(lm, evaluate={"metrics": []})
    recipe["data"].pop("test")
    result = run(recipe, tmp_path / "a")
    assert "metrics" not in result and (tmp_path / "a" / "adapter").is_dir()
    with pytest.raises(RecipeError, match=r"data\.train is missing"):
        run({**recipe, "data": {}}, tmp_path / "b")


def test_without_metrics_the_validation_loss_chooses(lm, tmp_path):
    validation = {"use": "tests.world:ColourSource", "count": 4}
    recipe = world.recipe(lm, data={"validation": validation}, evaluate={"metrics": []})
    result = run(recipe, tmp_path / "a")
    log = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").open()]
    losses = {r["step"]: r["eval_loss"] for r in log if "eval_loss" in r}
    assert result["best_step"] == min(losses, key=losses.get) and len(losses) >= 3


def test_a_failed_start_leaves_no_run_behind(lm, tmp_path):
    bad = {"use": "tests.world:ColourSource", "count": 0}
    with pytest.raises(RecipeError, match=r"data\.test has no samples"):
        run(world.recipe(lm, data={"test": bad}), tmp_path / "a")
    validation = {"use": "tests.world:ColourSource", "count": 4}
    clash = {"eval_steps": 2, "save_steps": 3}
    with pytest.raises(RecipeError, match="saving steps"):
        run(world.recipe(lm, data={"validation": validation}, train=clash), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_an_unreadable_file_is_the_error(lm, tmp_path):
    bad = {"use": "tests.world:ColourSource", "bad": [0]}
    with pytest.raises(MediaError, match="bad/0"):
        run(world.recipe(lm, data={"train": bad}), tmp_path / "a")


def test_a_killed_run_continues_to_the_same_adapter(lm, tmp_path):
    """kill -9 in the middle; then --resume."""
    recipe = world.recipe(lm, train={"max_steps": 60, "save_steps": 5})
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    code = (
        "import json, sys; from mmadapt.train import train; from tests import world\n"
        "old = world.ColourSource.__getitem__\n"
        "def slow(self, index):\n"
        "    import time; time.sleep(0.02); return old(self, index)\n"
        "world.ColourSource.__getitem__ = slow\n"
        "train(json.load(open(sys.argv[1])), sys.argv[2], allow_code=True, quiet=True)\n"
    )
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", code, str(tmp_path / "recipe.json"), str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (folder / "checkpoint-10").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "metrics.json").exists(), "it ended before it was killed"
    resumed = run(recipe, folder, resume=True)
    straight = run(recipe, tmp_path / "straight")
    assert resumed["predictions"] == straight["predictions"]
    a, b = (
        load_file(f / "adapter" / "adapter.safetensors") for f in (folder, tmp_path / "straight")
    )
    assert all((a[name] == b[name]).all() for name in a)
