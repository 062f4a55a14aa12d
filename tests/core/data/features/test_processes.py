"""Writers that are killed, and writers at the same time."""

import os
import random
import signal
import sys

import pytest
import torch

from mmadapt.data.features.folder import sets_in
from mmadapt.data.features.store import FeatureStore
from mmadapt.types import Features

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="processes are forked, which Windows cannot do"
)
COUNT = 300
ONE = "1" * 20


def features(number):
    level = torch.full((1, 1, 40, 64), float(number))
    mask, item = torch.ones(1, 1, 40, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.long)
    return Features((level,), mask, item)


def content(number):
    return f"{number * 7919 % 256:02x}{number:038d}"


def child(folder, work):
    """Runs in a process of its own, which ends with the number of entries that it added."""
    pid = os.fork()
    if pid:
        return pid
    store = FeatureStore(folder, 10**9)
    store.open_set(ONE, {"format": 1})
    code = 255
    try:
        work(store)
        code = min(254, store.added)
    finally:
        os._exit(code)


def fill(seed):
    def work(store):
        numbers = list(range(COUNT))
        random.Random(seed).shuffle(numbers)
        for number in numbers:
            assert store.put(ONE, content(number), features(number), (1,))

    return work


def whole_entries(folder):
    """Every entry that is there is whole and its own."""
    store, found = FeatureStore(folder, 10**9), 0
    for number in range(COUNT):
        entry = store.get(ONE, content(number))
        if entry is not None:
            assert torch.equal(entry.features.levels[0], features(number).levels[0])
            found += 1
    return found


def test_a_killed_writer_leaves_whole_entries_and_the_next_goes_on(tmp_path, capfd):
    seen = set()
    for attempt in range(8):
        pid = child(tmp_path, fill(attempt))
        aim = COUNT * (attempt + 1) // 10
        while len(list(tmp_path.rglob("*.safetensors"))) < aim:
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the writer ended before it was killed"
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        seen.add(whole_entries(tmp_path))
    assert len(seen) > 1  # some were killed in the middle
    assert "damaged" not in capfd.readouterr().err
    before = whole_entries(tmp_path)
    _, status = os.waitpid(child(tmp_path, fill(99)), 0)
    assert os.waitstatus_to_exitcode(status) == min(254, COUNT - before)
    assert whole_entries(tmp_path) == COUNT
    assert [one.entries for one in sets_in(tmp_path)] == [COUNT]


def test_two_writers_at_once_make_every_entry(tmp_path):
    pids = [child(tmp_path, fill(seed)) for seed in (1, 2)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert all(0 <= code < 255 for code in codes)
    assert whole_entries(tmp_path) == COUNT
    assert [one.entries for one in sets_in(tmp_path)] == [COUNT]
    assert not list((tmp_path / ONE / "part").iterdir())


def test_a_file_size_limit_of_the_system_is_one_warning(tmp_path, capfd):
    def work(store):
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store.put(ONE, content(0), features(0), (1,))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        assert not any(store.put(ONE, content(n), features(n), (1,)) for n in (1, 2, 3))
        assert store.get(ONE, content(0)) is not None

    _, status = os.waitpid(child(tmp_path, work), 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert capfd.readouterr().err.count("feature cache:") == 1
    assert whole_entries(tmp_path) == 1 and not list((tmp_path / ONE / "part").iterdir())
