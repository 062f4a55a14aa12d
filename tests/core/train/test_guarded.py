"""Steps that fail: their samples are named, and a bounded number may be left out."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import Trainer

from mmadapt.errors import TrainingError
from mmadapt.train import train
from mmadapt.train.trainer import AdapterTrainer
from tests import world

POISONED = {"image": {"use": "tests.reliability.parts:PoisonedEncoder"}}
KEYS = {"max_steps": 12, "use_cpu": True, "logging_steps": 1, "save_steps": 6}


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


def run(recipe, folder, **options):
    return train(recipe, folder, allow_code=True, quiet=True, **options)


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").open()]


def test_a_loss_that_is_no_number_ends_the_run_with_its_samples(lm, tmp_path):
    recipe = world.recipe(lm, encoders=POISONED, train=KEYS)
    with pytest.raises(TrainingError, match=r"the loss is nan at step \d .* samples .*\bs5\b.*;"):
        run(recipe, tmp_path / "a")
    assert not (tmp_path / "a" / "adapter").exists()


def test_steps_without_a_number_are_left_out_within_a_bound(lm, tmp_path):
    recipe = world.recipe(lm, encoders=POISONED, train={**KEYS, "max_skipped_steps": 2})
    result = run(recipe, tmp_path / "a")
    assert result["steps"] == 12 and result["skipped_steps"] == 2  # two epochs, s5 once in each
    skipped = [record for record in log_of(tmp_path / "a") if "skipped_samples" in record]
    assert len(skipped) == 2 and all("s5" in record["skipped_samples"] for record in skipped)
    assert all(len(record["skipped_samples"]) == 4 for record in skipped)
    losses = [record["loss"] for record in log_of(tmp_path / "a") if "loss" in record]
    assert len(losses) == 12 and all(loss == loss for loss in losses)
    recipe["train"]["max_skipped_steps"] = 1
    with pytest.raises(TrainingError, match=r"left out \(1 were, as many as it allows\)"):
        run(recipe, tmp_path / "b")


def test_the_bound_counts_the_steps_before_a_run_was_resumed(lm, tmp_path):
    recipe = world.recipe(lm, encoders=POISONED, train={**KEYS, "max_skipped_steps": 1})
    with pytest.raises(TrainingError):
        run(recipe, tmp_path / "a")
    assert (tmp_path / "a" / "checkpoint-6" / "manifest.json").exists()
    with pytest.raises(TrainingError, match="1 were, as many as it allows"):
        run(recipe, tmp_path / "a", resume=True)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_is_left_out_changes_nothing(lm, tmp_path, monkeypatch, accumulate):
    before: list[dict] = []

    def note(self, model, inputs, *args):
        if "s5" in inputs["ids"]:
            before.append(
                {n: p.clone() for n, p in self.adapter_model.adapter_state_dict().items()}
            )
        return step(self, model, inputs, *args)

    step = AdapterTrainer.training_step
    monkeypatch.setattr(AdapterTrainer, "training_step", note)
    keys = {"max_steps": 6 // accumulate, "gradient_accumulation_steps": accumulate}
    keys |= {"max_skipped_steps": 1, "save_steps": 1, "save_total_limit": 9, "weight_decay": 0.1}
    run(world.recipe(lm, encoders=POISONED, train={**KEYS, **keys}), tmp_path / "a")
    from safetensors.torch import load_file

    left = next(r["step"] for r in log_of(tmp_path / "a") if "skipped_samples" in r) + 1
    after = load_file(tmp_path / "a" / f"checkpoint-{left}" / "adapter.safetensors")
    assert all(torch.equal(before[0][name], after[name]) for name in after)


def test_with_float16_a_loss_that_is_no_number_counts_and_an_overflow_does_not(monkeypatch):
    trainer = AdapterTrainer.__new__(AdapterTrainer)
    trainer.accelerator = SimpleNamespace(scaler=object())
    trainer.optimizer = SimpleNamespace(zero_grad=lambda set_to_none: None)
    trainer.state = SimpleNamespace(log_history=[], global_step=0, is_world_process_zero=False)
    trainer.args = SimpleNamespace(auto_find_batch_size=False)
    trainer.max_skipped_steps, trainer._ids = 1, []
    loss, norm = torch.tensor(1.0), torch.tensor(float("inf"))
    monkeypatch.setattr(Trainer, "training_step", lambda *_: loss)
    monkeypatch.setattr(Trainer, "_get_grad_norm", lambda *_, **__: norm)
    monkeypatch.setattr(Trainer, "log", lambda self, logs: self.state.log_history.append(logs))
    monkeypatch.setattr(AdapterTrainer, "log", Trainer.log)
    monkeypatch.setattr(AdapterTrainer, "is_world_process_zero", lambda self: False)
    monkeypatch.setattr(AdapterTrainer, "_get_learning_rate", lambda self: 0.1)

    def step():
        trainer.training_step(None, {"input_ids": torch.zeros(1, 1), "ids": ["s1"]})
        return trainer._get_grad_norm(None)

    assert step() == norm and not trainer.state.log_history  # the scaler skips that one
    loss = torch.tensor(float("nan"))
    assert step() == 0.0
    assert [record["reason"] for record in trainer.state.log_history] == ["the loss is nan"]
    with pytest.raises(TrainingError, match="1 were, as many as it allows"):
        step()


def failing(error, least=0):
    """What raises for batches of more than `least` samples."""
    original = AdapterTrainer.compute_loss

    def compute_loss(self, model, inputs, **kwargs):
        if len(inputs["input_ids"]) > least:
            raise error
        return original(self, model, inputs, **kwargs)

    return compute_loss


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
)
def test_memory_that_does_not_suffice_names_the_batch_and_what_to_lower(
    lm, tmp_path, monkeypatch, error
):
    monkeypatch.setattr(AdapterTrainer, "compute_loss", failing(error))
    with pytest.raises(TrainingError) as raised:
        run(world.recipe(lm, train=KEYS), tmp_path / "a")
    text = str(raised.value)
    assert "does not suffice for step 1, 4 x 3 text tokens" in text
    assert "media of the samples s" in text and "auto_find_batch_size" in text
    assert "gradient_checkpointing" in text and "\n" not in text
