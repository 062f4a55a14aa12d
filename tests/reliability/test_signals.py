"""A run that is asked to stop finishes its step and saves; --resume gives what it would have."""

import json
import os
import signal
import subprocess

import pytest

from mmadapt.cli.train import resuming
from mmadapt.errors import Stopped
from mmadapt.train import train
from mmadapt.train.checkpoints import last_checkpoint
from mmadapt.train.signals import StopRequest
from tests import world
from tests.forked import Forked, ranks
from tests.reliability import parts

KEYS = {"max_steps": 20, "save_steps": 20, "logging_steps": 1, "use_cpu": True}
WITH_WORKER = {**KEYS, "dataloader_num_workers": 1}


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def straight(lm, tmp_path_factory):
    """The run that nobody interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    path = parts.write(folder / "recipe.yaml", lm, train=KEYS)
    train(path, folder / "run", allow_code=True, quiet=True)
    return folder / "run"


def steps(folder):
    log = folder / "log.jsonl"
    return log.read_text().count('"loss"') if log.exists() else 0


def begun(process, folder, at=3):
    """A run that has done a few steps, its samples read slowly."""
    parts.wait_for(lambda: steps(folder) >= at or process.poll() is not None)
    return process


def command(path, folder, *more):
    """The words of a run after `python -m`."""
    return parts.command(path, folder, *more)[2:]


@pytest.mark.parametrize("name", ["SIGINT", "SIGUSR1"])
def test_a_signal_ends_a_run_after_its_step_with_a_checkpoint(name, lm, straight, tmp_path):
    path = parts.write(tmp_path / "recipe.yaml", lm, source={"pause": 0.05}, train=WITH_WORKER)
    folder = tmp_path / "run"
    process = begun(Forked(*command(path, folder)), folder)
    # As a terminal does it: to the command and its loader workers alike.
    os.killpg(process.pid, getattr(signal, name))
    code, told = parts.ended(process)
    assert code == 75, told
    done = steps(folder)
    assert 3 <= done < 20 and f"stopped by {name} after step {done} of 20" in told
    assert "Traceback" not in told
    assert (folder / f"checkpoint-{done}" / "trainer_state.json").exists()
    line = told.strip().splitlines()[-1].strip()
    expected = f"mmadapt train {path} --allow-code -o {folder} --resume"
    assert line == expected
    code, told = parts.ended(Forked("mmadapt.cli", *line.split()[1:]))
    assert code == 0, told
    assert parts.same_adapter(folder, straight)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2"])
def test_each_signal_finishes_the_step_and_saves(name, lm, tmp_path, monkeypatch):
    read = parts.FaultySource.__getitem__

    def asking(self, index):
        if steps(tmp_path / "run") == 3:
            monkeypatch.undo()
            signal.raise_signal(getattr(signal, name))
        return read(self, index)

    monkeypatch.setattr(parts.FaultySource, "__getitem__", asking)
    path = parts.write(tmp_path / "recipe.yaml", lm, train=KEYS)
    with pytest.raises(Stopped, match=f"stopped by {name} after step 4 of 20, which is saved"):
        train(path, tmp_path / "run", allow_code=True, quiet=True)
    assert last_checkpoint(tmp_path / "run").name == "checkpoint-4"


def test_a_second_signal_stops_at_once(lm, tmp_path):
    hang = tmp_path / "hang"
    source = {"pause": 0.05, "hangs_after": str(hang)}
    path = parts.write(tmp_path / "recipe.yaml", lm, source=source, train=KEYS)
    process = begun(Forked(*command(path, tmp_path / "run")), tmp_path / "run")
    hang.touch()  # a step that never ends
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2.0)
    process.send_signal(signal.SIGTERM)
    code, told = parts.ended(process)
    assert code == -signal.SIGTERM and "a second one stops at once" in told


def test_while_scores_are_computed_the_run_stops_at_once_and_can_go_on(lm, straight, tmp_path):
    test = {"use": f"{parts.HERE}:FaultySource", "start": 100, "count": 16, "pause": 0.1}
    path = parts.write(tmp_path / "recipe.yaml", lm, data={"test": test}, train=KEYS)
    process = Forked(*command(path, tmp_path / "run"))
    parts.wait_for(lambda: (tmp_path / "run" / "adapter").exists() or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    code, told = parts.ended(process)
    assert code == 75 and "stopped by SIGTERM; continue with --resume" in told
    result = train(path, tmp_path / "run", resume=True, allow_code=True, quiet=True)
    assert result["metrics"] == json.loads((straight / "metrics.json").read_text())["metrics"]
    assert parts.same_adapter(tmp_path / "run", straight)


def test_torchrun_passes_the_request_on_and_all_processes_stop_after_one_step(lm, tmp_path):
    path = parts.write(
        tmp_path / "recipe.yaml",
        lm,
        source={"pause": 0.05},
        train={**KEYS, "ddp_backend": "gloo", "per_device_train_batch_size": 2},
    )
    folder = tmp_path / "run"
    process = begun(parts.start(parts.command(path, folder, processes=2)), folder)
    process.send_signal(signal.SIGTERM)
    code, told = parts.ended(process)
    done = steps(folder)
    assert code != 0 and 3 <= done < 20 and f"after step {done} of 20" in told, told
    assert (folder / f"checkpoint-{done}" / "rng_state_1.pth").exists()
    for again in ranks(2, *command(path, folder, "--resume")):
        code, told = parts.ended(again)
        assert code == 0, told
    assert steps(folder) == 20


def test_handlers_are_given_back_and_other_processes_are_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest().heard() as stop:
        assert signal.getsignal(signal.SIGTERM) == stop._hear
        stop._pid += 1  # as in a forked worker
        signal.raise_signal(signal.SIGTERM)
        assert stop.received is None
    assert signal.getsignal(signal.SIGTERM) == before
    told = pytest.raises(Stopped, match="stopped by SIGUSR2; continue with --resume")
    with told, StopRequest().heard():
        signal.raise_signal(signal.SIGUSR2)


def test_the_command_that_resumes():
    assert resuming(["train", "a b.yaml", "x=1"]) == "mmadapt train 'a b.yaml' x=1 --resume"
    assert resuming(["train", "a.yaml", "--resume"]) == "mmadapt train a.yaml --resume"
