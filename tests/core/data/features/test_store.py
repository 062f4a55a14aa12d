import errno
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch

from mmadapt.data.features import entry as entry_module
from mmadapt.data.features import store as module
from mmadapt.data.features.entry import read_entry
from mmadapt.data.features.folder import PARTS, sets_in
from mmadapt.data.features.store import FeatureStore
from mmadapt.errors import MMAdaptError
from mmadapt.types import Features

A, B = "ab" * 20, "cd" * 20
ONE, TWO = "1" * 20, "2" * 20


def features(value=1.0, size=64):
    level = torch.full((1, 1, 1, size), value)
    mask, item = torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.long)
    return Features((level,), mask, item)


@pytest.fixture
def store(tmp_path):
    found = FeatureStore(tmp_path / "features", 10**7)
    found.open_set(ONE, {"format": 1})
    return found


def value(store, content, name=ONE):
    entry = store.get(name, content)
    return None if entry is None else float(entry.features.levels[0].flatten()[0])


def parts(store):
    return list((store.folder / ONE / PARTS).iterdir())


def test_what_is_put_is_found_also_by_another_process(store):
    assert value(store, A) is None and not store.has(ONE, A)
    assert store.put(ONE, A, features(2.0), (1,))
    for one in (store, pickle.loads(pickle.dumps(store))):
        assert one.has(ONE, A) and value(one, A) == 2.0 and value(one, B) is None
    assert store.path(ONE, A).parent.name == A[:2] and not parts(store)


def test_an_entry_is_written_once(store):
    store.put(ONE, A, features(1.0), (1,))
    assert store.put(ONE, A, features(2.0), (1,))
    assert value(store, A) == 1.0 and store.added == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_others_may_read_what_the_umask_lets_them(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        store = FeatureStore(tmp_path, 10**7)
        store.open_set(ONE, {"format": 1})
        store.put(ONE, A, features(), (1,))
    finally:
        os.umask(before)
    for path in (tmp_path / ONE / "about.json", store.path(ONE, A)):
        assert path.stat().st_mode & 0o777 == mode


def test_an_entry_that_cannot_be_read_is_not_there(store, monkeypatch):
    store.put(ONE, A, features(), (1,))
    other = FeatureStore(store.folder, 10**7)
    assert other.put(ONE, A, features(), (1,))

    def refused(path, framework):  # safetensors says so of a file of another user
        raise FileNotFoundError(f"No such file or directory: {path}")

    monkeypatch.setattr(entry_module, "safe_open", refused)
    for _ in range(2):
        assert other.get(ONE, A) is None and not other.put(ONE, A, features(), (1,))
    assert other.has(ONE, A) and other.added == 0 and not other.is_closed


def test_an_entry_appears_whole(store, monkeypatch):
    real, renamed = os.replace, []

    def replace(part, path):
        read_entry(Path(part), check=True)
        assert not path.exists() and Path(part).parent == store.folder / ONE / PARTS
        renamed.append(path)
        real(part, path)

    monkeypatch.setattr(os, "replace", replace)
    store.put(ONE, A, features(), (1,))
    assert renamed == [store.path(ONE, A)]


def test_a_damaged_entry_is_told_and_made_again(store, capsys):
    store.put(ONE, A, features(1.0), (1,))
    content = bytearray(store.path(ONE, A).read_bytes())
    content[-3] ^= 1
    store.path(ONE, A).write_bytes(content)
    assert value(store, A) is None
    told = capsys.readouterr().err
    assert str(store.path(ONE, A)) in told and "made again" in told
    assert store.put(ONE, A, features(3.0), (1,)) and value(store, A) == 3.0


def test_the_limit_counts_all_sets_and_is_told_once(store, capsys):
    small = FeatureStore(store.folder, 3000)
    small.open_set(TWO, {"format": 1})
    store.put(ONE, A, features(size=400), (1,))
    assert small.put(TWO, A, features(), (1,))
    assert not small.put(TWO, B, features(size=200), (1,))
    assert not small.put(TWO, "ef" * 20, features(size=1), (1,))
    assert value(small, A, TWO) == 1.0 and value(small, A) == 1.0 and small.is_closed
    told = capsys.readouterr().err
    assert told.count("feature cache") == 1 and "data.cache_gib" in told


def test_a_disk_that_is_nearly_full_is_left_alone(store, capsys, monkeypatch):
    monkeypatch.setattr(module, "RESERVE", 10**18)
    assert not store.put(ONE, A, features(), (1,))
    assert "of the disk is free" in capsys.readouterr().err and value(store, A) is None


def test_a_full_disk_loses_nothing(store, capsys, monkeypatch):
    store.put(ONE, A, features(), (1,))
    real = os.fdopen

    def full(handle, mode):
        stream = real(handle, mode)

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                stream.close()

            def write(self, data):
                stream.write(data[:10])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return Full()

    monkeypatch.setattr(os, "fdopen", full)
    for content in (B, "ef" * 20):
        assert not store.put(ONE, content, features(), (1,))
    monkeypatch.undo()
    assert value(store, A) == 1.0 and value(store, B) is None and not parts(store)
    told = capsys.readouterr().err
    assert told.count("feature cache") == 1 and "No space left" in told


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MMAdaptError, match="MMADAPT_CACHE"):
        FeatureStore(tmp_path / "file", 1).open_set(ONE, {})


def test_what_killed_writers_left_goes_when_it_is_old(store):
    old, young = (store.folder / ONE / PARTS / name for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    store.open_set(ONE, {"format": 1})
    assert parts(store) == [young]
    assert [found.entries for found in sets_in(store.folder)] == [0]
