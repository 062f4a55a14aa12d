"""Streamed samples on their way to batches: shares of processes and workers, substitutes."""

from itertools import islice

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch.utils.data import DataLoader

from mmadapt.contracts import StreamedSource
from mmadapt.data.collate import Collator
from mmadapt.data.items import Failed
from mmadapt.data.length import LengthLimit
from mmadapt.data.streamed import Share, StreamedDataset
from mmadapt.errors import DataError
from tests import world
from tests.tiny import tiny_tokenizer


class Config(BaseModel):
    shards: int = 3
    count: int = 24
    bad: list[int] = []
    torn: int | None = None


class Colours(StreamedSource):
    """As `world.ColourSource`, in shards."""

    Config = Config

    def __init__(self, config):
        super().__init__(config)
        options = config.model_dump(include={"count", "bad"})
        self.inner = world.ColourSource(world.ColourConfig(**options))

    @property
    def shards(self):
        return [f"part-{n}" for n in range(self.config.shards)]

    def read(self, shard):
        for number in range(shard, self.config.count, self.config.shards):
            if number == self.config.torn:
                raise DataError(self.shards[shard], number, "is damaged")
            yield number

    def sample(self, record):
        return self.inner[record]


class Choosing(world.PlainHead):
    """Draws a target of its own."""

    def target(self, sample, rng=None):
        return str(rng.choice(world.COLOURS))


def dataset_of(source=None, head=None, noise=False, **options):
    options = {"training": True, "seed": 5, "buffer": 6, "substitute": True, **options}
    return StreamedDataset(
        source or Colours(Config()),
        head or world.PlainHead(None),
        tiny_tokenizer(world.WORDS),
        {"image": ("image", world.ColourProcessor(noise=noise))},
        **options,
    )


def batches(dataset, count, workers=0, size=4):
    loader = DataLoader(
        dataset, batch_size=size, num_workers=workers, collate_fn=_listed, generator=None
    )
    return list(islice(iter(loader), count))


def _listed(items):
    return items


def summary(item):
    value = None if isinstance(item, Failed) else item.media[0].values
    return item.id, None if value is None else value.numpy().tobytes(), tuple(item.labels)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing(workers):
    def of(workers):
        dataset = dataset_of(head=Choosing(None), noise=True, augment=True)
        dataset.share = Share(4)
        return [[summary(item) for item in batch] for batch in batches(dataset, 14, workers)]

    assert of(workers) == of(0)


@pytest.mark.parametrize(("ranks", "size"), [(2, 4), (3, 2), (4, 5)])
def test_ranks_meet_every_sample_once_a_pass(ranks, size):
    whole = dataset_of()
    whole.share = Share(1)
    expected = [item.id for item in islice(whole, 24 * 5)]
    met = {}
    for rank in range(ranks):
        dataset = dataset_of()
        dataset.share = Share(size, rank, ranks)
        for number, batch in enumerate(batches(dataset, -(-120 // (ranks * size)), size=size)):
            met[number * ranks + rank] = [item.id for item in batch]
    order = [name for number in sorted(met) for name in met[number]]
    assert order[:120] == expected
    for start in range(0, 120, 24):
        assert len(set(order[start : start + 24])) == 24


def test_a_share_goes_on_where_it_stopped():
    dataset = dataset_of(head=Choosing(None), noise=True, augment=True)
    dataset.share = Share(4)
    whole = batches(dataset, 20)
    for done in (1, 6, 7, 13):
        again = dataset_of(head=Choosing(None), noise=True, augment=True)
        again.share = Share(4, begin=4 * done, marks=whole[done - 1][0].marks)
        rest = batches(again, 20 - done)
        assert [[summary(i) for i in b] for b in rest] == [
            [summary(i) for i in b] for b in whole[done:]
        ]


def test_a_share_goes_on_where_a_sample_of_the_next_pass_stood_in():
    source = Colours(Config(shards=1, count=4, bad=[2, 3]))
    whole = list(islice(dataset_of(source, buffer=0), 12))
    assert [item.id for item in whole] == ["s0", "s1", "s0", "s0"] * 3
    for done in range(1, 9):
        again = dataset_of(source, buffer=0)
        again.share = Share(1, begin=done, marks=whole[done - 1].marks)
        rest = list(islice(again, 12 - done))
        assert [summary(item) for item in rest] == [summary(item) for item in whole[done:]]


def test_random_choices_differ_between_passes_and_samples():
    dataset = dataset_of(noise=True, augment=True)
    dataset.shuffle = False
    items = list(islice(dataset, 48))
    assert [item.id for item in items[:24]] == [item.id for item in items[24:]]
    noise = {item.media[0].values.numpy().tobytes() for item in items}
    assert len(noise) == 48


def test_an_unreadable_sample_is_replaced_by_the_next_one():
    dataset = dataset_of(Colours(Config(shards=1, bad=[2, 3])))
    dataset.shuffle = False
    items = list(islice(dataset, 6))
    assert [item.id for item in items] == ["s0", "s1", "s4", "s4", "s4", "s5"]
    assert [failed.id for failed in items[2].failed] == ["s2", "s3"]
    assert items[2].failed[0].kind == "unreadable"


def test_samples_that_are_all_bad_end_in_one_error():
    dataset = dataset_of(Colours(Config(bad=list(range(24)))))
    result = next(iter(dataset))
    assert isinstance(result, Failed) and result.kind == "wrong"
    assert "32 samples in a row cannot be used" in str(result.error)


def test_the_length_policy_holds():
    policy = LengthLimit(1, "skip")
    assert "in a row" in str(next(iter(dataset_of(limit=policy))).error)
    result = next(iter(dataset_of(limit=LengthLimit(1, "error"))))
    assert result.kind == "wrong" and "at most 1 fit" in str(result.error)


def test_a_sample_without_a_label_is_an_error():
    class Silent(world.PlainHead):
        def target(self, sample, rng=None):
            return ""

    result = next(iter(dataset_of(head=Silent(None))))
    assert result.kind == "wrong" and "to learn from" in str(result.error)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_is_one_error_with_shard_and_record(workers):
    dataset = dataset_of(Colours(Config(torn=10)))
    dataset.share = Share(4)
    failures = [x for batch in batches(dataset, 9, workers) for x in batch if isinstance(x, Failed)]
    assert failures and {str(x.error) for x in failures} == {"part-1:10: is damaged"}
    assert {x.kind for x in failures} == {"wrong"}


@pytest.mark.parametrize("size", [1, 4])
def test_a_damaged_place_after_an_unreadable_sample_is_that_error(size):
    dataset = dataset_of(Colours(Config(shards=1, bad=[2], torn=3)), buffer=0)
    dataset.share = Share(size)
    items = list(islice(dataset, 8))
    assert [item.id for item in items[:2]] == ["s0", "s1"]
    assert {str(item.error) for item in items[2:]} == {"part-0:3: is damaged"}


def test_one_of_several_references_is_drawn_in_each_pass():
    class Several(Colours):
        def sample(self, record):
            sample = {**super().sample(record), "references": ["red", "green", "blue"]}
            return {**sample, "target": None}

    def ids():
        return [item.id for item in islice(dataset_of(Several(Config())), 240)]

    found = ids()
    assert found == ids()
    assert {name.partition("#")[2] for name in found} == {"0", "1", "2"}
    same = {name for name in found if name.startswith("s7#")}
    assert len(same) > 1  # another one in another pass


def test_the_marks_of_a_batch_travel_beside_it():
    dataset = dataset_of()
    dataset.share = Share(4)
    loader = DataLoader(dataset, batch_size=4, collate_fn=Collator(0))
    marks = [batch["marks"] for batch in islice(iter(loader), 8)]
    assert [mark.epoch for (mark,) in marks] == [0] * 6 + [1] * 2
    assert [mark.start for (mark,) in marks] == [0] * 6 + [24] * 2


def test_nothing_global_is_drawn_from():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    list(islice(dataset_of(noise=True, augment=True), 30))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()
