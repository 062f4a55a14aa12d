"""A run whose frozen LM lies in shards (FSDP2 of accelerate, two gloo processes)."""

import json

import torch
from safetensors.torch import load_file

import mmadapt
from mmadapt.train import train
from tests import world
from tests.reliability import parts

SHARDED = str(parts.ROOT / "tests" / "reliability" / "sharded_train.py")


def recipe(path, lm, batch, **train):
    """Samples 3, 4, 7, 8, ... have no media, so one of two processes never meets any."""
    keys = {"max_steps": 4, "use_cpu": True, "logging_steps": 1, "learning_rate": 3e-3}
    keys |= {"train_sampling_strategy": "sequential", "per_device_train_batch_size": batch}
    source = {"words": 4, "silent": True}
    return parts.write(path, lm, source=source, train=keys | {"save_steps": 2} | train)


def test_shards_learn_and_save_what_one_process_does(tmp_path):
    lm = world.save_lm(tmp_path / "lm")
    one = recipe(tmp_path / "one.yaml", lm, 4)
    two = recipe(tmp_path / "two.yaml", lm, 2, fsdp="full_shard")
    line = parts.command(two, tmp_path / "two", processes=2)
    at = line.index("mmadapt.cli")
    process = parts.start([*line[: at - 1], SHARDED, *line[at + 1 :]])
    code, told = parts.ended(process, 300)
    assert code == 0, told
    assert "'lm.model.layers.0', 'lm.model.layers.1'" in told  # and the rest is the root unit, ''
    train(one, tmp_path / "one", allow_code=True, quiet=True)
    runs = [tmp_path / name for name in ("one", "two")]
    a, b = (load_file(run / "adapter" / "adapter.safetensors") for run in runs)
    assert {n: x.shape for n, x in a.items()} == {n: x.shape for n, x in b.items()}
    assert max(float((a[n] - b[n]).norm() / a[n].norm()) for n in a) < 1e-5
    results = [json.loads((run / "metrics.json").read_text()) for run in runs]
    assert results[0]["metrics"] == results[1]["metrics"]
    loaded = mmadapt.load(runs[1], allow_code=True).adapter_state_dict()
    assert all(torch.equal(loaded[name], b[name]) for name in b)
    last = load_file(runs[1] / "checkpoint-4" / "adapter.safetensors")
    assert all(torch.equal(last[name], b[name]) for name in b)
