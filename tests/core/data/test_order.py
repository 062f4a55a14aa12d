import numpy as np
import pytest

from mmadapt.data.dataset import MediaDataset
from mmadapt.data.length import InsertedTokens, LengthLimit
from mmadapt.data.mixture import Mixture
from mmadapt.data.order import POOL, EpochSampler, Grouping
from mmadapt.data.views import InMemory
from tests import world
from tests.tiny import tiny_tokenizer

LENGTHS = np.random.default_rng(0).integers(1, 200, 1003).tolist()


def grouped(epoch, seed=0, size=8, lengths=LENGTHS, **options):
    sampler = EpochSampler(len(lengths), seed, grouping=Grouping(lengths, size), **options)
    sampler.set_epoch(epoch)
    return [index for _, index in sampler]


def padding(order, size=8):
    batches = [[LENGTHS[i] for i in order[k : k + size]] for k in range(0, len(order), size)]
    return sum(max(batch) * len(batch) - sum(batch) for batch in batches)


def test_grouped_batches_pad_little():
    plain = [index for _, index in EpochSampler(len(LENGTHS), 0)]
    assert padding(grouped(0)) < 0.1 * padding(plain)


def test_a_grouped_epoch_has_every_sample_once_and_is_a_function_of_seed_and_epoch():
    assert sorted(grouped(0)) == list(range(len(LENGTHS)))
    assert grouped(1) == grouped(1) != grouped(2) and grouped(1) != grouped(1, seed=1)


def test_the_longest_sample_comes_first_and_batches_are_not_in_order_of_length():
    order = grouped(3)
    assert max(LENGTHS) in [LENGTHS[i] for i in order[:8]]
    means = [np.mean([LENGTHS[i] for i in order[k : k + 8]]) for k in range(8, 8 * POOL, 8)]
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.4


def test_batches_hold_different_samples_from_epoch_to_epoch():
    first, second = ({frozenset(grouped(e)[k : k + 8]) for k in range(0, 1000, 8)} for e in (0, 1))
    assert len(first & second) < 5


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 401])
def test_any_number_of_samples(count):
    lengths = LENGTHS[:count]
    assert sorted(grouped(0, lengths=lengths)) == list(range(count))


def test_mixtures_are_grouped_too():
    mixture = Mixture([InMemory([{"id": ""}] * n) for n in (400, 603)], [3, 1])
    order = grouped(0, mixture=mixture)
    assert sum(index < 400 for index in order) == 752
    assert padding(order) < 0.1 * padding(
        [index for _, index in EpochSampler(1003, mixture=mixture)]
    )


def test_lengths_are_known_without_reading_media():
    class Uneven(world.ColourSource):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            words = " ".join(["say"] * (1 + index))
            return {**sample, "prompt": words, "media": sample["media"] * (index % 3)}

    limit = LengthLimit(None, inserted=InsertedTokens(0, 1, {"image": 2}, {"image": 10}))
    processors = {"image": ("image", world.ColourProcessor())}
    samples = MediaDataset(
        Uneven(world.ColourConfig(count=4)), world.PlainHead(None), tiny_tokenizer(world.WORDS),
        processors, training=True, limit=limit,
    )  # fmt: skip
    world.CALLS.clear()
    text = [1 + index + 2 for index in range(4)]  # prompt, target, EOS
    assert samples.lengths({"image": 3}) == [
        text[0], text[1] + 1 + 32, text[2] + 1 + 64, text[3],
    ]  # fmt: skip
    assert world.CALLS == []
