"""Several processes (gloo) learn what one learns, score what one scores, and fail together."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from mmadapt.evaluate import evaluate_adapter
from mmadapt.ranks import agree
from mmadapt.train import train
from tests import world
from tests.forked import ranks
from tests.reliability import parts
from tests.reliability.bench import workers_of

CPU = torch.device("cpu")
MEETING = """
import json
import torch
from mmadapt import ranks
from mmadapt_evlm.losses import balance_loss
ranks.join()
me = ranks.rank()
assert ranks.world_size() == 3 and ranks.gather(f"p{me}") == ["p0", "p1", "p2"]
cpu = torch.device("cpu")
assert ranks.any_of(me == 2, cpu) and not ranks.any_of(False, cpu)
assert float(ranks.summed(torch.tensor(1.0 + me))) == 6.0
ranks.agree(None, cpu)
logits = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0))
logits[:, :10] += torch.tensor([9.0, 0, 0, 0])  # the first process would send all to one expert
mine = [layer[10 * me : 10 * me + 10] for layer in logits]
for mode in ("per_layer", "hf_pooled"):
    loss = balance_loss(mine, 2, mode)
    mean = float(ranks.summed(loss)) / 3
    print(json.dumps([mode, mean]) if me == 0 else "")
try:
    ranks.agree(ValueError("a bad file") if me == 1 else None, cpu)
except Exception as error:
    assert str(error) == ("a bad file" if me == 1 else "process 1 of 3: a bad file"), error
else:
    raise AssertionError("nobody raised")
"""


def ended(processes):
    """The exit code of each process, and all that they wrote to stderr."""
    found = [parts.ended(process) for process in processes]
    return [code for code, _ in found], "".join(told for _, told in found)


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return world.save_lm(tmp_path_factory.mktemp("lm"))


def test_processes_tell_each_other_and_balance_experts_over_all_tokens(tmp_path):
    from mmadapt_evlm.losses import balance_loss

    script = tmp_path / "meeting.py"
    script.write_text(MEETING)
    processes = ranks(3, str(script))
    codes, told = ended(processes)
    assert codes == [0, 0, 0], told
    out, _ = processes[0].communicate()
    found = dict(json.loads(text) for text in out.splitlines() if text.startswith("["))
    logits = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0))
    logits[:, :10] += torch.tensor([9.0, 0, 0, 0])
    for mode, value in found.items():
        alone = float(balance_loss(list(logits), 2, mode))
        apart = [balance_loss([x[k : k + 10] for x in logits], 2, mode) for k in (0, 10, 20)]
        assert abs(value - alone) < 1e-5 and abs(float(sum(apart)) / 3 - alone) > 1e-2
    assert len(found) == 2


def test_one_process_raises_its_own_problem():
    agree(None, CPU)
    with pytest.raises(ValueError, match="mine"):
        agree(ValueError("mine"), CPU)


def recipe(path, lm, **source):
    """20 steps without dropout over targets of 1 and of 4 words, four samples a step."""
    keys = {"max_steps": 20, "use_cpu": True, "logging_steps": 1, "save_strategy": "no"}
    keys |= {"train_sampling_strategy": "sequential", "learning_rate": 3e-3}
    keys |= {"per_device_train_batch_size": source.pop("batch", 4)}
    return parts.write(path, lm, source={"words": 4, **source}, train=keys)


@pytest.fixture(scope="module")
def alone(lm, tmp_path_factory):
    """By `silent`, the run of one process."""
    made = {}

    def run(silent):
        if silent not in made:
            folder = tmp_path_factory.mktemp("alone")
            path = recipe(folder / "recipe.yaml", lm, silent=silent)
            train(path, folder / "run", allow_code=True, quiet=True)
            made[silent] = folder / "run"
        return made[silent]

    return run


def losses(folder):
    return [r["loss"] for r in map(json.loads, (folder / "log.jsonl").open()) if "loss" in r]


@pytest.mark.parametrize("silent", [False, True])
def test_two_processes_learn_what_one_does(silent, lm, alone, tmp_path):
    """Within 1e-5, also where one of them never has any media in its batch."""
    path = recipe(tmp_path / "recipe.yaml", lm, silent=silent, batch=2)
    folder = tmp_path / "run"
    codes, told = ended(ranks(2, *parts.command(path, folder)[2:]))
    assert codes == [0, 0], told
    one, two = losses(alone(silent)), losses(folder)
    assert len(one) == len(two) == 20
    assert max(abs(a - b) / abs(a) for a, b in zip(one, two, strict=True)) < 1e-5
    a, b = (load_file(f / "adapter" / "adapter.safetensors") for f in (alone(silent), folder))
    far = max(float((a[name] - b[name]).norm() / a[name].norm()) for name in a)
    assert far < 1e-5, far
    if not silent:
        results = [json.loads((f / "metrics.json").read_text()) for f in (alone(silent), folder)]
        assert results[0]["metrics"] == results[1]["metrics"]


def test_four_processes_score_every_sample_once(lm, alone, tmp_path):
    """17 samples, one unreadable: shares of 5, 4, 4 and 4."""
    changes = ["data.test.count=17", "data.test.bad=[6]", "data.max_bad_share=0.5"]
    line = ["mmadapt.cli", "evaluate", str(alone(False)), "--allow-code"]
    codes, told = ended(ranks(4, *line, "-o", str(tmp_path / "four"), *changes))
    assert codes == [0] * 4, told
    evaluate_adapter(alone(False), changes, output_dir=tmp_path / "one", allow_code=True)
    four, one = (
        [json.loads(line) for line in (tmp_path / name / "predictions.jsonl").open()]
        for name in ("four", "one")
    )
    assert four == one and len({row["id"] for row in four}) == len(four) == 16
    kept = [json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("four", "one")]
    assert kept[0]["metrics"] == kept[1]["metrics"] and kept[0]["failed"] == kept[1]["failed"]


def test_uneven_last_batches_end_every_epoch(lm, tmp_path):
    """Ten samples over three processes in batches of two: all take the same number of steps."""
    data = {"test": {"use": f"{parts.HERE}:FaultySource", "start": 100, "count": 4}}
    keys = {"num_train_epochs": 2, "max_steps": None, "use_cpu": True}
    keys |= {"per_device_train_batch_size": 2, "save_strategy": "no"}
    path = parts.write(tmp_path / "r.yaml", lm, source={"count": 10}, data=data, train=keys)
    codes, told = ended(ranks(3, *parts.command(path, tmp_path / "run")[2:]))
    assert codes == [0, 0, 0], told
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["steps"] == 4


def test_a_sample_that_one_process_cannot_use_ends_all_with_its_name(lm, tmp_path):
    path = recipe(tmp_path / "recipe.yaml", lm, wrong=6, wrong_rank=1, batch=2)
    codes, told = ended(ranks(2, *parts.command(path, tmp_path / "run")[2:]))
    assert codes == [2, 2]
    assert "error: process 1 of 2: " in told and "has no target" in told


def test_a_killed_process_ends_the_others(lm, tmp_path):
    """They would wait for it for ever; a minute is more than a busy machine needs."""
    path = recipe(tmp_path / "recipe.yaml", lm, batch=2, pause=0.2)
    process = parts.start(parts.command(path, tmp_path / "run", processes=2))
    log = tmp_path / "run" / "log.jsonl"
    parts.wait_for(lambda: log.exists() or process.poll() is not None)
    os.kill(workers_of(process.pid)[1], signal.SIGKILL)
    code, told = parts.ended(process, 60)
    assert code == 1 and "Signal 9 (SIGKILL)" in told and not (tmp_path / "run/adapter").exists()


def test_a_frozen_lm_in_shards_gives_the_same_loss_and_gradients(lm):
    """FSDP2 on CPUs; also where one process has no media, which keeps nobody waiting."""
    codes, told = ended(ranks(2, str(parts.ROOT / "tests/reliability/sharded.py"), str(lm)))
    assert codes == [0, 0], told
