"""`train.auto_find_batch_size`: half the batch, twice the accumulation, the same training."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from mmadapt.errors import RecipeError, TrainingError
from mmadapt.train import fitting, train
from mmadapt.train.fitting import smaller_batch
from mmadapt.train.trainer import AdapterTrainer
from tests import world

KEYS = {"max_steps": 6, "use_cpu": True, "logging_steps": 1, "save_steps": 2}
KEYS |= {"per_device_train_batch_size": 8, "auto_find_batch_size": True, "save_total_limit": 9}
ERROR = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


@pytest.fixture
def short_of_memory(monkeypatch):
    """Makes batches of more than `most` fail from a step on; the sizes tried are noted."""

    def apply(most, step=0):
        original, sizes = AdapterTrainer.compute_loss, []

        def compute_loss(self, model, inputs, **kwargs):
            sizes.append(len(inputs["input_ids"]))
            if sizes[-1] > most and self.state.global_step >= step:
                raise RuntimeError(ERROR)
            return original(self, model, inputs, **kwargs)

        monkeypatch.setattr(AdapterTrainer, "compute_loss", compute_loss)
        return sizes

    return apply


def run(lm, folder, resume=False, data=None, **keys):
    recipe = world.recipe(lm, train={**KEYS, **keys}, data=data or {})
    return train(recipe, folder, allow_code=True, quiet=True, resume=resume)


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").open()]


def assert_same(one, other):
    one, other = (load_file(folder / "adapter" / "adapter.safetensors") for folder in (one, other))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stream", [False, True])
def test_half_the_batch_trains_as_the_whole_and_says_so(
    lm, tmp_path, short_of_memory, capsys, stream
):
    data = {"shuffle_buffer": 4} if stream else None
    if stream:
        data |= {"train": {"use": "tests.core.data.test_streamed:Colours"}}
    run(lm, tmp_path / "whole", data=data)
    sizes = short_of_memory(most=2)
    assert run(lm, tmp_path / "less", data=data)["steps"] == 6
    assert sizes[:4] == [8, 4, 2, 2] and max(sizes[2:]) == 2 and len(sizes) == 2 + 6 * 4
    assert_same(tmp_path / "whole", tmp_path / "less")
    told = [record for record in log_of(tmp_path / "less") if "out_of_memory_at" in record]
    shown = {"step": 0, "batch_size": 2, "gradient_accumulation_steps": 4, "out_of_memory_at": 4}
    assert told and shown.items() <= told[-1].items()
    assert "batches of 8: from step 0 on batches of 4, 2 for each" in capsys.readouterr().err


@pytest.mark.parametrize("keys", [{}, {"save_strategy": "no"}])
def test_memory_that_ends_late_takes_the_run_back_to_its_checkpoint(
    lm, tmp_path, short_of_memory, keys
):
    run(lm, tmp_path / "whole", **keys)
    sizes = short_of_memory(most=4, step=3)
    assert run(lm, tmp_path / "less", **keys)["steps"] == 6
    again = 4 if not keys else 6  # steps that are done with the smaller batch
    assert sizes == [8] * 4 + [4] * 2 * again
    assert_same(tmp_path / "whole", tmp_path / "less")
    losses = [(r["step"], r["loss"]) for r in log_of(tmp_path / "less") if "loss" in r]
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_is_resumed_keeps_the_batch_that_fits(lm, tmp_path, short_of_memory):
    sizes = short_of_memory(most=4)
    run(lm, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name in ("metrics.json", "checkpoint-6", "checkpoint-4"):
        path = tmp_path / "b" / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    sizes.clear()
    assert run(lm, tmp_path / "b", resume=True)["steps"] == 6
    assert sizes == [4] * 2 * 4
    assert_same(tmp_path / "a", tmp_path / "b")


def test_one_sample_that_does_not_fit_is_an_error(lm, tmp_path, short_of_memory):
    short_of_memory(most=0)
    with pytest.raises(TrainingError, match="does not suffice for batches of one sample: lower"):
        run(lm, tmp_path / "a")


def test_several_processes_would_wait_for_one_another(lm, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "world_size", lambda: 2)
    with pytest.raises(RecipeError, match=r"set train\.per_device_train_batch_size"):
        run(lm, tmp_path / "a")


def test_batches_divide_a_step():
    assert [smaller_batch(*pair) for pair in ((8, 8), (12, 12), (6, 6), (5, 5), (3, 12))] == [
        *(4, 6, 3, 1, 1)
    ]
