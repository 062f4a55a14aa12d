"""An encoder that no batch needs lies elsewhere until one does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmadapt.composition import compose
from mmadapt.features import resting
from mmadapt.features.memory import FeatureMemory
from mmadapt.features.resting import RestingEncoder
from tests import world
from tests.core.features.test_memory import batch, same


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    """Stands for main memory, as the encoders of tests are in it already."""
    monkeypatch.setattr(resting, "REST", torch.device("meta"))
    monkeypatch.setattr(resting, "PATIENCE", 2)


@pytest.fixture
def moves(monkeypatch):
    """Where an encoder was told to go, beside it."""

    def watched(encoder):
        found = []
        monkeypatch.setattr(encoder, "to", lambda device: found.append(device.type))
        return found

    return watched


class Disk:
    """A cache on disk that is full."""

    def keep(self, name, content, row, item):
        return row, False

    def close(self):
        pass


def test_it_rests_at_once_and_after_a_need_only_when_none_comes_for_a_while(moves):
    encoder = nn.Linear(2, 2)
    seen = moves(encoder)
    sleeper = RestingEncoder(encoder)
    sleeper.unused()
    sleeper.unused()
    assert seen == ["meta"] and sleeper.rests
    sleeper.wake()
    sleeper.wake()
    assert seen == ["meta", "cpu"] and not sleeper.rests
    sleeper.unused()
    sleeper.unused()
    assert len(seen) == 2
    sleeper.unused()
    assert seen == ["meta", "cpu", "meta"]


def test_one_in_main_memory_or_on_two_devices_stays(moves, monkeypatch):
    spread = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    seen = moves(spread)
    RestingEncoder(spread).unused()
    monkeypatch.setattr(resting, "REST", torch.device("cpu"))
    there = nn.Linear(2, 2)
    seen += moves(there)
    RestingEncoder(there).unused()
    assert seen == []


def test_it_stays_where_several_processes_train(moves, monkeypatch):
    monkeypatch.setattr(resting, "world_size", lambda: 2)
    encoder = nn.Linear(2, 2)
    seen = moves(encoder)
    RestingEncoder(encoder).unused()
    assert seen == []


@pytest.mark.parametrize("disk", [Disk(), None])
def test_batches_whose_features_are_known_need_no_encoder(tmp_path, moves, disk):
    model = compose(world.recipe(world.save_lm(tmp_path)), allow_code=True)
    seen = moves(model.encoders["image"])
    known, new = batch(model, [0, 1])["media"], batch(model, [2, 1])["media"]
    with FeatureMemory(model, 10**7, disk).used():
        first = model.encode(known)
        assert seen == []
        same(first, model.encode(known))
        assert seen == (["meta"] if disk else [])
        model.encode(new)  # what is not known wakes it
        assert seen == (["meta", "cpu"] if disk else [])
        for _ in range(3):
            model.encode(known)
        assert seen == (["meta", "cpu", "meta"] if disk else [])
    assert seen == (["meta", "cpu"] * 2 if disk else [])
