import os
import time

import pytest
import torch

from mmadapt.data.features.folder import PARTS, prune, sets_in, used_bytes
from mmadapt.data.features.store import FeatureStore
from mmadapt.types import Features

DAY = 86400
NEW, OLDER, OLDEST = "0a" * 10, "1b" * 10, "2c" * 10


@pytest.fixture
def folder(tmp_path):
    """Sets NEW, OLDER and OLDEST, of one, two and three entries."""
    store = FeatureStore(tmp_path, 10**9)
    mask, item = torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.long)
    for number, name in enumerate((NEW, OLDER, OLDEST), start=1):
        store.open_set(name, {"format": 1, "number": number})
        for k in range(number):
            store.put(
                name, f"{k}{number}" * 20, Features((torch.ones(1, 1, 1, 50),), mask, item), [1]
            )
        used = time.time() - (number - 1) * 40 * DAY
        os.utime(tmp_path / name / "about.json", (used, used))
    return tmp_path


def names(folder):
    return [found.name for found in sets_in(folder)]


def test_sets_are_listed_with_what_they_hold(folder):
    found = sets_in(folder)
    assert [(one.name, one.entries, one.about["number"]) for one in found] == [
        (NEW, 1, 1),
        (OLDER, 2, 2),
        (OLDEST, 3, 3),
    ]
    total = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert used_bytes(folder) == total == sum(one.nbytes for one in found)


def test_prune_removes_what_was_not_used_for_long(folder):
    assert [one.name for one in prune(folder, days=60)] == [OLDEST]
    assert names(folder) == [NEW, OLDER]


def test_prune_removes_the_oldest_until_the_rest_is_small_enough(folder):
    limit = sum(one.nbytes for one in sets_in(folder)[:2])
    prune(folder, limit=limit)
    assert names(folder) == [NEW, OLDER]
    prune(folder, limit=0)
    assert names(folder) == [] and used_bytes(folder) == 0


def test_prune_finishes_what_was_cut_off(folder):
    (folder / NEW).rename(folder / f".removed-{NEW}-1")
    (folder / ("3d" * 10) / PARTS).mkdir(parents=True)
    prune(folder, days=1000)
    assert names(folder) == [OLDER, OLDEST]
    assert not (folder / f".removed-{NEW}-1").exists()


@pytest.mark.parametrize("name", ["clip_vitl14", "cafe", "0A" * 10, ".removed-mine-1", "0a" * 11])
def test_what_is_not_ours_is_neither_counted_nor_removed(folder, name):
    used = used_bytes(folder)
    (folder / name).mkdir()
    (folder / name / "train.npy").write_bytes(b"own features")
    assert used_bytes(folder) == used and name not in names(folder)
    prune(folder, days=0, limit=0)
    assert (folder / name / "train.npy").exists() and names(folder) == []


def test_a_removal_that_is_cut_off_twice_is_finished(folder):
    (folder / NEW).rename(folder / f".removed-.removed-{NEW}-1-2")
    prune(folder, days=1000)
    assert names(folder) == [OLDER, OLDEST] and len(list(folder.iterdir())) == 2


def test_an_empty_place_holds_nothing(tmp_path):
    assert sets_in(tmp_path / "none") == [] and prune(tmp_path / "none", days=0) == []
