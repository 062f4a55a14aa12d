"""What a machine does to a run, done here on purpose: one line each, which says what helps."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
from datetime import timedelta

import pytest
import torch
from safetensors.torch import save_file
from torch import distributed
from torch.utils.data import DataLoader, Dataset

from mmadapt.errors import DataError, TrainingError
from mmadapt.faults import explain_faults, explanation


@pytest.fixture
def quota():
    """No file may grow beyond a thousand bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def by_torch(path):
    torch.save(torch.zeros(9999), path)


def by_safetensors(path):
    save_file({"a": torch.zeros(9999)}, path)


def by_python(path):
    path.write_bytes(bytes(9999))


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (by_torch, "a checkpoint cannot be written: the disk is full, or a quota or limit"),
        (by_safetensors, "weights cannot be written: .*File too large.*: free what they need"),
        (by_python, "cannot be written: File too large: free or mount what it needs"),
    ],
)
def test_a_disk_that_takes_no_more(tmp_path, quota, write, told):
    going_on = pytest.raises(TrainingError, match=f"{told}.*; then go on with --resume$")
    with going_on, explain_faults("", "then go on with --resume"):
        write(tmp_path / "file")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_what_the_system_says_of_a_disk(number):
    error = OSError(number, os.strerror(number), "runs/a/log.jsonl")
    told = f"runs/a/log.jsonl: cannot be written: {os.strerror(number)}: free or mount"
    assert explanation(error).startswith(told)


class Killed(Dataset):
    """Its worker is killed as the system does it that runs out of memory."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_loader_worker():
    told = r"^a loader worker exited .*lower train\.dataloader_num_workers$"
    with pytest.raises(TrainingError, match=told), explain_faults():
        list(DataLoader(Killed(), num_workers=1))


def join(place, rank):
    options = {"init_method": place, "timeout": timedelta(seconds=60), "world_size": 2}
    distributed.init_process_group("gloo", rank=rank, **options)
    distributed.barrier()


def _leaves(place):
    join(place, 1)
    os._exit(0)


def test_a_process_that_is_gone(tmp_path):
    """What the others of a launch see of it, at once."""
    place = f"file://{tmp_path / 'store'}"
    other = multiprocessing.get_context("fork").Process(target=_leaves, args=(place,))
    other.start()
    try:
        join(place, 0)
        other.join(60)
        told = "another process of this launch ended or does not answer; its own error says why"
        with pytest.raises(TrainingError, match=told), explain_faults():
            distributed.all_reduce(torch.ones(1))
    finally:
        distributed.destroy_process_group()
        other.kill()


def test_what_the_machine_did_not_do_is_left_as_it_is():
    for error in (DataError("a.jsonl", 1, "is damaged"), RuntimeError("a defect"), KeyError("x")):
        with pytest.raises(type(error)) as found, explain_faults("lower it", "then go on"):
            raise error
        assert found.value is error
    assert explanation(OSError(errno.ENOENT, "No such file or directory")) is None
