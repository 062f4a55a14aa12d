"""The order of streamed samples."""

from itertools import islice

import numpy as np
import pytest

from mmadapt.contracts import StreamedSource
from mmadapt.data.items import Mark
from mmadapt.data.streams import Stream, StreamedMixture, shuffled
from mmadapt.data.views import InMemory
from mmadapt.errors import DataError, RecipeError


class Letters(StreamedSource):
    """Shards of letters: `Letters("abc", "de")`."""

    def __init__(self, *shards):
        super().__init__(None)
        self.all, self.read_shards = shards, []

    @property
    def shards(self):
        return [f"shard {n}" for n in range(len(self.all))]

    def read(self, shard):
        self.read_shards.append(shard)
        yield from self.all[shard]

    def sample(self, record):
        return {"id": record}


def ids(stream, count, *args):
    return "".join(drawn.load()["id"] for drawn in islice(stream.samples(*args), count))


FOUR = ("abcdef", "ghij", "kl", "mnopqrstuvwxyz")


def test_without_a_buffer_the_order_is_the_sources_own():
    assert ids(Stream(Letters("ab", "c")), 7) == "abcabca"


def test_every_pass_holds_every_sample_once_in_another_order():
    stream = Stream(Letters(*FOUR), seed=1, buffer=5)
    text = ids(stream, 78)
    passes = [text[:26], text[26:52], text[52:]]
    assert all(sorted(one) == sorted("".join(FOUR)) for one in passes)
    assert len(set(passes)) == 3 and passes[0] != "".join(FOUR)
    assert text == ids(stream, 78)
    assert text != ids(Stream(Letters(*FOUR), seed=2, buffer=5), 78)


def test_shards_come_in_a_random_order():
    orders = set()
    for seed in range(5):
        source = Letters(*FOUR)
        ids(Stream(source, seed, buffer=1), 26)
        orders.add(tuple(source.read_shards[:4]))
    assert len(orders) > 1 and all(sorted(order) == [0, 1, 2, 3] for order in orders)


def test_the_index_of_a_sample_is_the_same_in_every_pass_and_its_own():
    stream = Stream(Letters(*FOUR), seed=1, buffer=5)
    seen = [(d.load()["id"], d.index, d.epoch) for d in islice(stream.samples(), 52)]
    by_id = {}
    for name, index, _ in seen:
        by_id.setdefault(name, set()).add(index)
    assert all(len(found) == 1 for found in by_id.values())
    assert len(set.union(*by_id.values())) == 26
    assert [epoch for *_, epoch in seen] == [0] * 26 + [1] * 26


@pytest.mark.parametrize("mixed", [False, True])
def test_a_stream_goes_on_at_any_place_from_any_mark_before_it(mixed):
    source = Letters(*FOUR)
    if mixed:
        source = StreamedMixture([source, Letters("0123"), InMemory([{"id": "!"}])], [5, 2, 1])
    stream = Stream(source, seed=3, buffer=4)
    whole = list(islice(stream.samples(), 90))
    text = [drawn.load()["id"] for drawn in whole]
    for begin in (0, 1, 25, 26, 27, 60, 89):
        for marks in {(), whole[max(0, begin - 1)].marks, whole[max(0, begin - 9)].marks}:
            rest = list(islice(stream.samples(begin, marks if begin else ()), 90 - begin))
            assert [drawn.load()["id"] for drawn in rest] == text[begin:]
            assert [(d.epoch, d.marks) for d in rest] == [(d.epoch, d.marks) for d in whole[begin:]]


def test_a_mark_spares_reading_the_passes_before_it():
    source = Letters("abc")
    assert ids(Stream(source), 2, 7, (Mark(2, 6),)) == "bc"
    assert source.read_shards == [0]


def test_a_mixture_follows_its_weights_and_uses_each_part_evenly():
    parts = [Letters("abcdef"), InMemory([{"id": "0"}, {"id": "1"}])]
    text = ids(Stream(StreamedMixture(parts, [3, 1]), seed=0, buffer=2), 4000)
    digits = sum(letter in "01" for letter in text)
    assert 900 < digits < 1100
    assert abs(text.count("0") - text.count("1")) <= 1
    assert max(map(text.count, "abcdef")) - min(map(text.count, "abcdef")) <= 1
    counted = [letter for letter in text if letter in "01"][:200]
    assert len({tuple(counted[n : n + 2]) for n in range(0, 200, 2)}) == 2  # shuffled anew


def test_a_mixture_in_order_is_one_part_after_the_other():
    mixture = StreamedMixture([Letters("ab", "c"), InMemory([{"id": "!"}])], [1, 1])
    assert [sample["id"] for sample in mixture] == ["a", "b", "c", "!"]
    assert len(mixture.shards) == 3


def test_a_mixture_needs_weights():
    with pytest.raises(RecipeError, match="give every source a weight"):
        StreamedMixture([Letters("ab"), InMemory([])], None)


def test_a_source_without_samples_is_an_error_and_no_endless_loop():
    with pytest.raises(DataError, match="holds no samples"):
        next(Stream(Letters("", "")).samples())


def test_a_buffer_mixes_over_its_size():
    rng = np.random.default_rng(0)
    order = list(shuffled(range(1000), 100, rng))
    assert sorted(order) == list(range(1000))
    moved = [abs(place - item) for place, item in enumerate(order)]
    assert 50 < np.mean(moved) < 300
