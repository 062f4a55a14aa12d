import os
import time

import pytest
import torch

from mmadapt.data.features.folder import PARTS, prune, sets_in, used_bytes
from mmadapt.data.features.store import FeatureStore
from mmadapt.types import Features

DAY = 86400


@pytest.fixture
def folder(tmp_path):
    """Sets `new`, `older` and `oldest`, of one, two and three entries."""
    store = FeatureStore(tmp_path, 10**9)
    mask, item = torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.long)
    for number, name in enumerate(("new", "older", "oldest"), start=1):
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
        ("new", 1, 1),
        ("older", 2, 2),
        ("oldest", 3, 3),
    ]
    total = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert used_bytes(folder) == total == sum(one.nbytes for one in found)


def test_prune_removes_what_was_not_used_for_long(folder):
    assert [one.name for one in prune(folder, days=60)] == ["oldest"]
    assert names(folder) == ["new", "older"]


def test_prune_removes_the_oldest_until_the_rest_is_small_enough(folder):
    limit = sum(one.nbytes for one in sets_in(folder)[:2])
    prune(folder, limit=limit)
    assert names(folder) == ["new", "older"]
    prune(folder, limit=0)
    assert names(folder) == [] and used_bytes(folder) == 0


def test_prune_finishes_what_was_cut_off(folder):
    (folder / "new").rename(folder / ".removed-new-1")
    (folder / "broken" / PARTS).mkdir(parents=True)
    prune(folder, days=1000)
    assert names(folder) == ["older", "oldest"]
    assert not (folder / ".removed-new-1").exists()


def test_an_empty_place_holds_nothing(tmp_path):
    assert sets_in(tmp_path / "none") == [] and prune(tmp_path / "none", days=0) == []
