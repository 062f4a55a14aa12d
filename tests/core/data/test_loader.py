import torch

from mmadapt.data import loader
from mmadapt.data.cache import MemoryCache
from mmadapt.data.dataset import MediaDataset
from tests import world
from tests.tiny import tiny_tokenizer


def dataset(bad=(), count=5, budget=10**6, **options):
    source = world.ColourSource(world.ColourConfig(count=count, bad=list(bad)))
    processors = {"image": ("image", world.ColourProcessor(noise=True))}
    return MediaDataset(
        source,
        world.PlainHead(None),
        tiny_tokenizer(world.WORDS),
        processors,
        training=True,
        cache=MemoryCache(budget),
        **options,
    )


def test_batches_say_which_samples_their_rows_are():
    for workers in (0, 2):
        loaded = list(loader.batches(dataset(bad=[1]), 2, workers=workers))
        assert [indices for indices, _ in loaded] == [[0], [2, 3], [4]]
        assert [failure.id for failure in loaded[0][1]["failed"]] == ["s1"]
        assert loaded[1][1]["input_ids"].shape[0] == 2 and "labels" not in loaded[1][1]


def test_workers_are_for_what_memory_cannot_hold(monkeypatch):
    monkeypatch.setattr(loader, "spare_workers", lambda: 3)
    assert loader.training_workers(dataset()) == 0
    assert loader.training_workers(dataset(count=10**4)) == 3
    assert loader.training_workers(dataset(augment=True, budget=600)) == 3
    assert loader.training_workers(dataset(media="removed")) == 0


def test_workers_leave_cores_to_the_model(monkeypatch):
    for cores, expected in ((1, 0), (2, 0), (8, 2), (64, 4)):
        monkeypatch.setattr(loader.os, "sched_getaffinity", lambda _, n=cores: range(n))
        assert loader.spare_workers() == expected


def test_tensors_are_moved_and_the_rest_is_left():
    batch = {"a": torch.zeros(1), "b": {"c": torch.zeros(2), "keys": ["x"]}, "n": 3}
    moved = loader.to_device(batch, torch.device("meta"))
    assert moved["a"].is_meta and moved["b"]["c"].is_meta
    assert (moved["b"]["keys"], moved["n"]) == (["x"], 3)
