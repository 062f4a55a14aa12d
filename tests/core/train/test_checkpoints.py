import json

import pytest
import torch

from mmadapt.adapters.checkpoint import WEIGHTS, write_tensors
from mmadapt.errors import MMAdaptError
from mmadapt.train.checkpoints import (
    MANIFEST,
    begin,
    last_checkpoint,
    other_processes,
    seal,
    what_is_torn,
)

STATE = "trainer_state.json"


def checkpoint(folder, step, resumable=True):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    write_tensors({"a": torch.zeros(3)}, path / WEIGHTS)
    for name in ("optimizer.pt", "scheduler.pt"):
        (path / name).write_bytes(b"x")
    (path / STATE).write_text(json.dumps({"global_step": step}))
    seal(path, step, 1, resumable)
    return path


def test_the_newest_is_taken_by_number(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step in (9, 100, 20):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_checkpoint(tmp_path).name == "checkpoint-100"


def test_a_run_without_what_resuming_needs_is_an_error(tmp_path):
    for step in (10, 20):
        checkpoint(tmp_path, step, resumable=False)
    with pytest.raises(MMAdaptError, match=r"checkpoint-20 lacks .*as train\.save_only"):
        last_checkpoint(tmp_path)
    for step in (10, 20):  # torn: killed while it was written
        (tmp_path / f"checkpoint-{step}" / MANIFEST).unlink()
    assert last_checkpoint(tmp_path) is None


TORN = [(name, "missing") for name in (WEIGHTS, "optimizer.pt", "scheduler.pt", STATE, MANIFEST)]


@pytest.mark.parametrize(
    ("torn", "how"), [*TORN, (WEIGHTS, "half"), (STATE, "half"), (MANIFEST, "half")]
)
def test_a_torn_checkpoint_is_passed_over_with_a_word(tmp_path, torn, how):
    checkpoint(tmp_path, 10)
    path = checkpoint(tmp_path, 20) / torn
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said = []
    assert last_checkpoint(tmp_path, said.append).name == "checkpoint-10"
    assert len(said) == 1 and "checkpoint-20 is passed over" in said[0] and torn in said[0]


def test_other_bytes_of_the_same_size_are_noticed(tmp_path):
    path = checkpoint(tmp_path, 10)
    content = bytearray((path / "optimizer.pt").read_bytes())
    content[0] ^= 1
    (path / "optimizer.pt").write_bytes(content)
    assert what_is_torn(path) == "optimizer.pt is not what was written"


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname"])
def test_a_manifest_names_no_file_outside_its_checkpoint(tmp_path, name):
    path = checkpoint(tmp_path, 10)
    manifest = json.loads((path / MANIFEST).read_text())
    manifest["files"][name] = {"bytes": 1, "sha256": ""}
    (path / MANIFEST).write_text(json.dumps(manifest))
    assert "was not completed" in what_is_torn(path)


def test_a_link_out_of_a_checkpoint_is_not_followed(tmp_path):
    path = checkpoint(tmp_path, 10)
    (path / "optimizer.pt").rename(tmp_path / "outside")
    (path / "optimizer.pt").symlink_to(tmp_path / "outside")
    assert what_is_torn(path) == "optimizer.pt is a link that leads out of it"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    (path / "optimizer.pt").unlink()
    (tmp_path / "outside").rename(path / "optimizer.pt")
    assert what_is_torn(path) is None  # the folder itself may lie on another disk


def test_what_a_killed_run_left_is_replaced_whole(tmp_path):
    path = checkpoint(tmp_path, 10)
    begin(path)
    assert not path.exists()
    begin(path)  # nothing there is nothing to do


def test_another_number_of_processes_is_told(tmp_path):
    path = checkpoint(tmp_path, 10)
    assert other_processes(path, 1) is None
    assert "is of 1 processes, and there are 4 now" in other_processes(path, 4)
