import json

import pytest
import torch

from mmadapt.checkpoint import WEIGHTS, write_tensors
from mmadapt.errors import MMAdaptError
from mmadapt.train.checkpoints import last_checkpoint

STATE = "trainer_state.json"


def checkpoint(folder, step):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    write_tensors({"a": torch.zeros(3)}, path / WEIGHTS)
    for name in ("optimizer.pt", "scheduler.pt"):
        (path / name).write_bytes(b"x")
    (path / STATE).write_text(json.dumps({"global_step": step}))
    return path


def test_the_newest_is_taken_by_number(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step in (9, 100, 20):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_checkpoint(tmp_path).name == "checkpoint-100"


def test_a_run_without_what_resuming_needs_is_an_error(tmp_path):
    for step in (10, 20):
        (checkpoint(tmp_path, step) / "optimizer.pt").unlink()
    with pytest.raises(
        MMAdaptError, match=r"checkpoint-20 lacks optimizer\.pt, as train\.save_only"
    ):
        last_checkpoint(tmp_path)
    for step in (10, 20):  # torn: killed while it was written
        (tmp_path / f"checkpoint-{step}" / STATE).unlink()
    assert last_checkpoint(tmp_path) is None


TORN = [(name, "missing") for name in (WEIGHTS, "optimizer.pt", "scheduler.pt", STATE)]


@pytest.mark.parametrize(("torn", "how"), [*TORN, (WEIGHTS, "half"), (STATE, "half")])
def test_a_torn_checkpoint_is_passed_over(tmp_path, torn, how):
    checkpoint(tmp_path, 10)
    path = checkpoint(tmp_path, 20) / torn
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert last_checkpoint(tmp_path).name == "checkpoint-10"
