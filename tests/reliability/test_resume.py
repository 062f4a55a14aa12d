"""Resumed runs end in the bits of the unbroken one; the script does a hundred with SIGKILL."""

import json
import os
import shutil

import pytest
import torch

from mmadapt.recipe import load_recipe
from mmadapt.train import train
from mmadapt.train.checkpoints import MANIFEST, last_checkpoint, seal
from tests.forked import Forked
from tests.reliability import resume, resume_parts

KEYS = {"save_total_limit": 100}  # keeps all


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = resume_parts.write_shards(tmp_path_factory.mktemp("resume"))
    resume_parts.save_lm(folder)
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["by number", "streamed"])
def whole(request, base):
    recipe = resume_parts.recipe(base, request.param, **KEYS)
    folder = base / f"whole-{request.param}"
    train(recipe, folder, allow_code=True, quiet=True)
    return recipe, folder


def cut_back(folder, to, step):
    """A copy of a run as a kill after a step left it; what came after the checkpoint is torn."""
    shutil.copytree(folder, to)
    shutil.rmtree(to / "adapter")
    (to / "metrics.json").unlink()
    for path in resume.checkpoints(to):
        if int(path.name.partition("-")[2]) > step:
            (path / MANIFEST).unlink()
    return to


# An epoch of the samples by number has 6 steps: at its end, in the next one, at the end of all.
@pytest.mark.parametrize("step", [6, 8, 11])
def test_a_run_resumed_from_any_step_ends_in_the_same_bits(whole, tmp_path, step, capsys):
    recipe, folder = whole
    again = cut_back(folder, tmp_path / "again", step)
    train(recipe, again, resume=True, allow_code=True)
    assert resume.differences(resume.outcome(folder), resume.outcome(again)) == []
    said = capsys.readouterr().err
    assert said.count("is passed over: it has no manifest.json") == (12 - step) // 2


def test_a_kill_while_an_old_checkpoint_is_removed_leaves_nothing_behind(whole, tmp_path):
    """Also where no step is left that would remove it."""
    recipe, folder = whole
    kept = {**recipe, "train": {**recipe["train"], "save_total_limit": 2}}
    again = cut_back(folder, tmp_path / "again", 11)
    load_recipe(kept).dump(again / "recipe.yaml")
    for step in (2, 4):
        shutil.rmtree(again / f"checkpoint-{step}")
    (again / "checkpoint-6" / "adapter.safetensors").unlink()
    train(kept, again, resume=True, allow_code=True, quiet=True)
    left = {path.name for path in resume.checkpoints(again)}
    best = json.loads((again / "metrics.json").read_text())["best_step"]
    assert "checkpoint-6" not in left and len(left) == 2
    assert {"checkpoint-11", f"checkpoint-{best}"} <= left or best in (2, 4, 6)


def test_chance_matters_in_these_runs(base):
    """Otherwise equal bits would prove little."""
    short = {"max_steps": 2, "eval_strategy": "no", "save_strategy": "no"}
    changes = [("train", "seed", 3), ("train", "seed", 4)]
    changes += [("data", "augment", False), ("lm", "dropout", False)]
    found = []
    for number, (block, key, value) in enumerate(changes):
        recipe = resume_parts.recipe(base, True, **short)
        recipe[block][key] = value
        del recipe["data"]["validation"]
        train(recipe, base / f"chance-{number}", allow_code=True, quiet=True)
        found.append(resume.bits(base / f"chance-{number}" / "adapter" / "adapter.safetensors")[1])
    assert len(set(found)) == len(changes)


def test_checkpoints_hold_no_pickle_of_arguments_and_read_none(whole, tmp_path):
    recipe, folder = whole
    names = {path.name for path in folder.rglob("*")}
    assert not any("training_args" in name for name in names)

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "run by a pickle"),)

    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        again = cut_back(folder, tmp_path / name, 8)
        checkpoint = last_checkpoint(again)
        torch.save(Evil(), checkpoint / name)
        (checkpoint / MANIFEST).unlink()
        manifest = json.loads((folder / checkpoint.name / MANIFEST).read_text())
        seal(checkpoint, manifest["step"], 1)
        with pytest.raises(Exception, match=r"[Ww]eights.only"):
            train(recipe, again, resume=True, allow_code=True, quiet=True)
        assert not (tmp_path / "run by a pickle").exists()


def test_bad_files_met_before_are_counted_after(whole, tmp_path):
    recipe, folder = whole
    again = cut_back(folder, tmp_path / "again", 8)
    checkpoint = last_checkpoint(again)
    progress = json.loads((checkpoint / "progress.json").read_text())
    progress["met"] = {"train": {"unreadable": ["b.clip"]}}
    progress["bad"] = [[7, "s7", "b.clip: the file is damaged"]]
    (checkpoint / "progress.json").write_text(json.dumps(progress))
    assert last_checkpoint(again).name == "checkpoint-6"  # other bytes are noticed
    seal(checkpoint, 8, 1)
    result = train(recipe, again, resume=True, allow_code=True, quiet=True)
    assert result["skipped_samples"] == ["s7"]
    assert result["data"]["train"]["unreadable_files"] == 1


def test_killed_runs_end_bit_equal():
    """Two of the script's hundred, killed while they save, one of them twice: real SIGKILLs."""
    options = ["--runs", "2", "--first", "104", "--jobs", "2"]
    script = Forked("tests.reliability.resume", *options)
    out, told = script.communicate(600)
    assert script.returncode == 0, out + told
    assert "2 of 2 bit-equal" in out
