import json
import os
import time

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mmadapt.contracts import Fusion
from mmadapt.errors import DataError, MMAdaptError, RecipeError
from mmadapt.evaluate import evaluate_adapter
from mmadapt.recipe import load_recipe
from mmadapt.train import train
from mmadapt.train.folder import RunFolder
from mmadapt.train.trainer import AdapterTrainer
from tests import world
from tests.forked import Forked, ranks

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


@pytest.mark.parametrize("resume", [False, True])
def test_what_a_run_left_that_failed_before_its_first_checkpoint_is_taken_over(
    lm, tmp_path, resume
):
    folder = tmp_path / "run"
    with pytest.raises(DataError, match="tokens; at most 2 fit"):
        run(world.recipe(lm, data={"max_length": 2}), folder)
    assert {path.name for path in folder.iterdir()} == {"recipe.yaml"}
    (folder / "log.jsonl").write_text('{"step": 1, "loss": 9.0}\n')
    (folder / "checkpoint-9").mkdir()  # begun, and never completed
    assert run(world.recipe(lm), folder, resume=resume)["steps"] == 6
    assert "9.0" not in (folder / "log.jsonl").read_text()
    assert not (folder / "checkpoint-9").exists()
    assert load_recipe(folder / "recipe.yaml").data.max_length is None


@pytest.mark.parametrize(
    "kept", ["notes.txt", "metrics.json", "checkpoint-2/manifest.json", "own", "shown"]
)
def test_a_folder_with_anything_worth_keeping_is_not_taken_over(lm, tmp_path, kept):
    recipe, folder = load_recipe(world.recipe(lm)), tmp_path / "run"
    RunFolder(folder, recipe, resume=False).open()
    own = {"own": "# mine\n" + recipe.to_yaml(), "shown": recipe.to_yaml()}
    file = folder / ("recipe.yaml" if kept in own else kept)
    file.parent.mkdir(exist_ok=True)
    text = own.get(kept, "{}")
    file.write_text(text)
    with pytest.raises(MMAdaptError, match="another --output-dir, or delete the folder"):
        RunFolder(folder, recipe, resume=False)
    assert file.read_text() == text and (folder / "recipe.yaml").exists()


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
    with pytest.raises(DataError, match=r"data\.train: 1 of 24 samples .* bad/0: cannot read"):
        run(world.recipe(lm, data={"train": bad}), tmp_path / "a")


def test_bad_files_of_every_split_are_named_once_and_the_run_goes_on(lm, tmp_path):
    here = "tests.world:ColourSource"
    data = {
        "train": {"use": here, "bad": [2, 7]},
        "validation": {"use": here, "start": 50, "count": 8, "bad": [1]},
        "test": {"use": here, "start": 100, "count": 16, "bad": [3]},
        "max_bad_share": 0.2,
    }
    keys = {"max_steps": 12, "dataloader_num_workers": 2, "metric_for_best_model": "eval_loss"}
    result = run(world.recipe(lm, data=data, train=keys, evaluate=BLIND), tmp_path / "a")
    lines = [json.loads(line) for line in (tmp_path / "a" / "quarantine.jsonl").open()]
    assert sorted((line["split"], line["id"], line["file"]) for line in lines) == [
        ("test", "s103", "bad/103"),
        ("train", "s2", "bad/2"),
        ("train", "s7", "bad/7"),
        ("validation", "s51", "bad/51"),
    ]
    assert {line["reason"] for line in lines} == {"the file is damaged"}
    steps = {line["split"]: line["step"] for line in lines}
    assert steps["train"] < 6 and steps["validation"] <= 6 and steps["test"] == 12
    assert json.loads((tmp_path / "a" / "metrics.json").read_text())["data"] == {
        split: {"unreadable_files": count, "too_long": 0, "truncated": 0}
        for split, count in (("train", 2), ("validation", 1), ("test", 1))
    }
    assert [failure["id"] for failure in result["failed"]] == ["s103"]
    scored = evaluate_adapter(tmp_path / "a", output_dir=tmp_path / "b", allow_code=True)
    assert scored["data"]["test"]["unreadable_files"] == 1
    assert (tmp_path / "b" / "quarantine.jsonl").read_text().count("bad/103") == 1


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_too_many_bad_files_end_a_run_with_one_error(lm, tmp_path, split):
    bad = {"use": "tests.world:ColourSource", "count": 10, "bad": [1, 2, 3]}
    data = {split: bad, "max_bad_share": 0.2}
    with pytest.raises(DataError) as raised:
        run(world.recipe(lm, data=data), tmp_path / "a")
    text = str(raised.value)
    assert text.startswith(f"data.{split}: 3 of 10 samples cannot be read") and "bad/1" in text
    assert str(tmp_path / "a" / "quarantine.jsonl") in text
    assert (tmp_path / "a" / "quarantine.jsonl").read_text().count("bad/") == 3


def test_long_samples_are_an_error_or_counted(lm, tmp_path):
    data = {"max_length": 4}  # say + red + EOS, and one token of the image, fit
    assert run(world.recipe(lm, data=data), tmp_path / "a")["data"] == {
        "train": FINE,
        "test": FINE,
    }
    data["max_length"] = 3
    with pytest.raises(DataError, match=r"has 4 tokens \(3 of text, 1 of media\); at most 3 fit"):
        run(world.recipe(lm, data=data), tmp_path / "b")
    data = {"max_length": 3, "too_long": "truncate_prompt"}
    one = {"generate": {"max_new_tokens": 1}}
    result = run(world.recipe(lm, data=data, evaluate=one), tmp_path / "c")
    assert result["data"] == {"train": {**FINE, "truncated": 24}, "test": FINE}


FINE = {"unreadable_files": 0, "too_long": 0, "truncated": 0}


def test_a_killed_run_continues_to_the_same_adapter(lm, tmp_path):
    """kill -9 in the middle; then --resume."""
    slow = {"use": "tests.reliability.parts:FaultySource", "pause": 0.02}
    keys = {"max_steps": 24, "save_steps": 4}
    recipe = load_recipe(world.recipe(lm, data={"train": slow}, train=keys))
    recipe.dump(tmp_path / "recipe.yaml")
    folder = tmp_path / "killed"
    words = ["mmadapt.cli", "train", str(tmp_path / "recipe.yaml"), "--allow-code", "-o"]
    process = Forked(*words, str(folder))
    while process.poll() is None and not (folder / "checkpoint-8").exists():
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (folder / "metrics.json").exists(), "it ended before it was killed"
    resumed = run(recipe, folder, resume=True)
    straight = run(world.recipe(lm, train=keys), tmp_path / "straight")
    assert resumed["predictions"] == straight["predictions"]
    a, b = (
        load_file(f / "adapter" / "adapter.safetensors") for f in (folder, tmp_path / "straight")
    )
    assert all((a[name] == b[name]).all() for name in a)


class Gated(Fusion):
    """Says how far its gate is open."""

    Config = world.PlainConfig

    def __init__(self, config, context):
        super().__init__(config, context)
        self.gate = nn.Parameter(torch.ones(context.hidden_size))

    def mlp_output(self, i, x, y, state):
        return y + self.gate

    def gates(self):
        return {0: float(self.gate.detach().mean())}


def test_the_log_tells_of_the_gates(lm, tmp_path):
    recipe = world.recipe(lm, train={"logging_steps": 1})
    recipe["fusion"] = {"use": "tests.core.train.test_run:Gated", "name": "gated"}
    run(recipe, tmp_path / "a")
    log = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").open()]
    gates = [record["gates"]["gated"]["0"] for record in log if "loss" in record]
    assert len(set(gates)) == len(gates) == 6 and all(gate > 0 for gate in gates)


def test_a_folder_that_cannot_be_written_is_found_before_anything_loads(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(MMAdaptError, match="file is a file; choose another --output-dir"):
        run(world.recipe("/nowhere/at/all"), tmp_path / "file" / "run")
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)  # root may write all
    with pytest.raises(MMAdaptError, match="cannot be written to; choose another --output-dir"):
        run(world.recipe("/nowhere/at/all"), tmp_path / "new" / "run")


def test_a_folder_that_is_gone_is_named_with_the_way_on(lm, tmp_path, monkeypatch):
    folder, read = tmp_path / "run", world.ColourSource.__getitem__

    def vanishing(self, index):
        if (folder / "log.jsonl").exists():
            folder.rename(tmp_path / "away")
        return read(self, index)

    monkeypatch.setattr(world.ColourSource, "__getitem__", vanishing)
    recipe = world.recipe(lm, train={"logging_steps": 1})
    with pytest.raises(MMAdaptError, match=r"run: the run folder is gone; bring it back, .*resume"):
        run(recipe, folder)
    monkeypatch.undo()
    (tmp_path / "away").rename(folder)
    assert run(recipe, folder, resume=True)["steps"] == 6


def test_other_processes_leave_the_folder_to_the_first(lm, tmp_path, monkeypatch):
    recipe = load_recipe(world.recipe(lm))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "anything").write_text("")
    monkeypatch.setenv("RANK", "1")
    RunFolder(tmp_path / "a", recipe, resume=False).open()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["anything"]
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(MMAdaptError, match="holds a run already"):
        RunFolder(tmp_path / "a", recipe, resume=False)


def test_two_processes_train_one_adapter(lm, tmp_path):
    """Over gloo: one folder, one log, one adapter, and one voice."""
    path = tmp_path / "recipe.yaml"
    late = [{"encoder": "image", "blocks": "1:", "from_step": 2}]
    keys = {"max_steps": 4, "use_cpu": True, "ddp_backend": "gloo", "disable_tqdm": False}
    load_recipe(world.recipe(lm, train={**keys, "unfreeze": late})).dump(path)
    words = ["mmadapt.cli", "train", str(path), "--allow-code", "-o", str(tmp_path / "run")]
    processes = ranks(2, *words)
    out, told = map("".join, zip(*(one.communicate(180) for one in processes), strict=True))
    assert [one.returncode for one in processes] == [0, 0], told[-2000:]
    assert out.count("with media") == 1 and told.count("adapter and results: ") == 1
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert result["steps"] == 4
    keys = {"max_steps": 4, "use_cpu": True, "per_device_train_batch_size": 8, "unfreeze": late}
    run(world.recipe(lm, train=keys), tmp_path / "alone")
    one, two = (
        load_file(tmp_path / name / "adapter" / "adapter.safetensors") for name in ("run", "alone")
    )
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_a_resumed_run_without_a_checkpoint_says_that_it_starts_again(lm, tmp_path, capsys):
    recipe = world.recipe(lm, train={"save_strategy": "no"})
    run(recipe, tmp_path / "a")
    (tmp_path / "a" / "metrics.json").unlink()
    train(recipe, tmp_path / "a", resume=True, allow_code=True)
    assert "holds no complete checkpoint: training starts at step 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_memory_that_does_not_suffice_is_one_line(lm, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(AdapterTrainer, "training_step", fail)
    with pytest.raises(MMAdaptError, match="does not suffice: lower") as found:
        run(world.recipe(lm), tmp_path / "a")
    assert "\n" not in str(found.value)


def test_other_errors_of_torch_are_not_taken_for_memory(lm, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(AdapterTrainer, "training_step", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(world.recipe(lm), tmp_path / "a")
