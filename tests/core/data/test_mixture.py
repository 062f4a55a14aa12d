from collections import Counter

import numpy as np
import pytest

from mmadapt.data.build import training_view
from mmadapt.data.mixture import Mixture, draws, shares
from mmadapt.data.order import EpochSampler, weighted
from mmadapt.data.views import EachReference, InMemory
from mmadapt.errors import DataError


def source(letter, count, references=1):
    return InMemory(
        [
            {"id": f"{letter}{i}", "references": [f"{letter}{i}.{n}" for n in range(references)]}
            for i in range(count)
        ]
    )


def ids(mixture, epoch, seed=0, **options):
    sampler = EpochSampler(len(mixture), seed, mixture=weighted(mixture), **options)
    sampler.set_epoch(epoch)
    return [(number, mixture[index]["id"]) for number, index in sampler]


def test_the_parts_stand_one_after_the_other():
    mixture = Mixture([source("a", 2), source("b", 3)])
    assert [sample["id"] for sample in mixture] == ["a0", "a1", "b0", "b1", "b2"]
    assert weighted(mixture) is None and weighted(source("a", 1)) is None
    for wrong in (5, -1):
        with pytest.raises(IndexError):
            mixture[wrong]


def test_without_weights_an_epoch_has_every_sample_once():
    mixture = Mixture([source("a", 4), source("b", 9)])
    assert sorted(name for _, name in ids(mixture, 3)) == sorted(s["id"] for s in mixture)


@pytest.mark.parametrize("total", [1, 7, 100, 12345])
def test_shares_follow_the_weights(total):
    weights = [0.1, 3, 1, 1.3]
    counts = shares(total, weights)
    assert sum(counts) == total
    exact = [total * w / sum(weights) for w in weights]
    assert max(abs(a - b) for a, b in zip(counts, exact, strict=True)) < 1


def test_an_epoch_follows_the_weights():
    mixture = Mixture([source("a", 50), source("b", 150), source("c", 100)], [2, 1, 3])
    for epoch in range(3):
        counts = Counter(name[0] for _, name in ids(mixture, epoch))
        assert counts == {"a": 100, "b": 50, "c": 150}


def test_all_samples_of_a_part_are_used_equally_often():
    mixture = Mixture([source("a", 10), source("b", 31)], [3, 1])
    seen = Counter(name for epoch in range(31) for _, name in ids(mixture, epoch))
    for letter in "ab":
        uses = [count for name, count in seen.items() if name[0] == letter]
        assert max(uses) - min(uses) <= 1
    assert len(seen) == 41


def test_the_draw_is_a_function_of_seed_and_epoch_and_never_comes_again():
    mixture = Mixture([source("a", 10), source("b", 31)], [3, 1])
    assert ids(mixture, 2) == ids(mixture, 2)
    assert ids(mixture, 2) != ids(mixture, 3) and ids(mixture, 2) != ids(mixture, 2, seed=1)
    seen = [pair for epoch in range(8) for pair in ids(mixture, epoch)]
    assert len(set(seen)) == len(seen)  # so a sample's random choices differ at every use


def test_without_shuffling_parts_keep_their_order():
    mixture = Mixture([source("a", 3), source("b", 3)], [1, 2])
    assert [name for _, name in ids(mixture, 0, shuffle=False)] == ["a0", "a1", "b0", "b1", "b2",
                                                                   "b0"]  # fmt: skip
    numbers, indices = draws(mixture, 0, 1, shuffle=False)
    assert indices.tolist() == [2, 0, 4, 5, 3, 4] and numbers.tolist() == [0, 1, 1, 1, 2, 2]


def test_weights_count_captions_not_files():
    mixture = Mixture([source("a", 10, references=5), source("b", 10)], [1, 1])
    view = training_view(mixture)
    assert len(view) == 60 and view.weights == [1, 1]
    assert Counter(name[0] for _, name in ids(view, 0)) == {"a": 30, "b": 30}
    assert isinstance(training_view(source("a", 2)), EachReference)


def test_a_share_of_nothing_takes_nothing():
    mixture = Mixture([source("a", 3), source("b", 2)], [1e-9, 1])
    assert np.bincount(draws(mixture, 0, 0)[1] >= 3).tolist() == [0, 5]


def test_each_pass_through_a_part_has_an_order_of_its_own():
    mixture = Mixture([source("a", 100), source("b", 100)], [1, 3])
    halves = [{name for _, name in ids(mixture, epoch) if name[0] == "a"} for epoch in (0, 1, 2)]
    assert halves[0] | halves[1] == {f"a{i}" for i in range(100)}  # two epochs are one pass
    assert halves[2] not in halves[:2]


@pytest.mark.parametrize("weights", [None, [1, 1]])
def test_a_part_without_samples_is_an_error(weights):
    with pytest.raises(DataError, match="part 2 of the mixture has no samples"):
        Mixture([source("a", 3), source("b", 0)], weights)
