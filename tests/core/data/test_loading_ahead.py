"""What the loader promises: batches as wide as they must be, files read once, work done ahead."""

import time
from collections import Counter

import pytest

from mmadapt.data import loader
from mmadapt.data.cache import MemoryCache
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.views import InMemory
from tests import world
from tests.tiny import tiny_tokenizer


def dataset(samples, processor=None, budget=0):
    processors = {"image": ("image", processor or world.ColourProcessor())}
    return MediaDataset(
        InMemory(samples), world.PlainHead(None), tiny_tokenizer(world.WORDS), processors,
        training=True, cache=MemoryCache(budget),
    )  # fmt: skip


def sample(number, words=1):
    media = [{"type": "image", "path": f"c0/{number}"}]
    return {"id": str(number), "prompt": "say " * words, "target": "red", "media": media}


def test_a_batch_is_as_wide_as_its_own_longest():
    samples = dataset([sample(0, 1), sample(1, 3), sample(2, 9), sample(3, 2)])
    widths = [batch["input_ids"].shape[1] for _, batch in loader.batches(samples, 2, workers=0)]
    assert widths == [3 + 2, 9 + 2]  # prompt, target, EOS


@pytest.mark.parametrize("budget", [0, 10**6])
def test_a_pass_reads_every_file_once_and_memory_spares_the_next(budget):
    samples = dataset([sample(number) for number in range(5)], budget=budget)
    for passed in (1, 2):
        world.CALLS.clear()
        assert len(list(loader.batches(samples, 2, workers=0))) == 3
        reads = 0 if budget and passed == 2 else 1
        assert Counter(world.CALLS) == Counter({f"c0/{n}": reads for n in range(5) if reads})


class Leaving(world.ColourProcessor):
    """Leaves a file for each picture that it was given."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def __call__(self, media, rng=None):
        (self.folder / media["path"].replace("/", "-")).touch()
        return super().__call__(media, rng)


def test_a_worker_prepares_the_next_batches_meanwhile(tmp_path):
    samples = dataset([sample(number) for number in range(8)], Leaving(tmp_path))
    for workers, ahead in ((0, 2), (1, 6)):
        for path in tmp_path.iterdir():
            path.unlink()
        batches = loader.batches(samples, 2, workers=workers)
        next(batches)
        until = time.monotonic() + 30
        while len(list(tmp_path.iterdir())) < ahead and time.monotonic() < until:
            time.sleep(0.01)
        assert len(list(tmp_path.iterdir())) == ahead  # two batches beside the one that is used
        batches.close()
