import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mmadapt.data.cache import MemoryCache
from mmadapt.data.collate import Collator
from mmadapt.data.dataset import SLOW_SECONDS, MediaDataset
from mmadapt.data.items import Failed
from mmadapt.data.length import InsertedTokens, LengthLimit
from mmadapt.data.order import EpochSampler
from mmadapt.errors import DataError, MediaError
from tests import world
from tests.tiny import tiny_tokenizer


class Guessing(world.PlainHead):
    """A target drawn anew in every epoch."""

    def target(self, sample, rng=None):
        return sample["target"] if rng is None else str(rng.choice(world.COLOURS))


def dataset(source=None, head=None, processor=None, **options):
    source = source or world.ColourSource(world.ColourConfig())
    head = head or world.PlainHead(None)
    options = {"training": True, **options}
    processors = {"image": ("image", processor or world.ColourProcessor())}
    return MediaDataset(source, head, tiny_tokenizer(world.WORDS), processors, **options)


def test_an_item_holds_tokens_labels_and_media():
    item = dataset()[1]
    assert item.id == "s1"
    assert item.input_ids.tolist() == [4, 6, 2] and item.labels.tolist() == [-100, 6, 2]
    assert item.media_positions.tolist() == [0]
    (medium,) = item.media
    assert (medium.encoder, medium.file, medium.values.shape) == ("image", 0, (1, 5, 8))


def test_evaluation_sees_the_prompt_alone():
    item = dataset(training=False)[1]
    assert item.input_ids.tolist() == [4] and item.labels.tolist() == [-100]


def test_every_choice_is_a_function_of_seed_epoch_and_index():
    def drawn(seed, epoch, index):
        samples = dataset(
            head=Guessing(None),
            processor=world.ColourProcessor(noise=True),
            seed=seed,
            augment=True,
        )
        item = samples[epoch, index]
        return item.input_ids.tolist(), item.media[0].values

    ids, values = drawn(1, 2, 3)
    for seed, epoch, index in ((1, 2, 7), (1, 3, 3), (2, 2, 3)):
        other = drawn(seed, epoch, index)  # sample 7 has the colour of sample 3
        assert not torch.allclose(values, other[1], atol=0.1)
    again = drawn(1, 2, 3)
    assert again[0] == ids and torch.equal(again[1], values)
    targets = {tuple(drawn(1, epoch, 3)[0]) for epoch in range(12)}
    assert len(targets) > 1


def test_targets_are_drawn_anew_in_every_epoch():
    samples = dataset(head=Guessing(None))
    assert len({samples[epoch, 3].input_ids[1] for epoch in range(12)}) > 1


@pytest.mark.parametrize("augment", [False, True])
def test_only_what_no_choice_went_into_is_kept(augment):
    processor = world.ColourProcessor(noise=True)
    samples = dataset(head=Guessing(None), processor=processor, augment=augment)
    world.CALLS.clear()
    first, second = samples[0, 5], samples[1, 5]
    assert len(world.CALLS) == (2 if augment else 1)
    assert torch.equal(first.media[0].values, second.media[0].values) is not augment
    assert (first.media[0].key is None) is augment


class RandomSide(world.ColourProcessor):
    """Reads a file otherwise when it may choose, though it draws nothing."""

    def __call__(self, media, rng=None):
        return super().__call__(media) + (0.0 if rng is None else 1.0)


def test_training_and_evaluation_do_not_share_what_differs():
    cache = MemoryCache()
    options = {"processor": RandomSide(), "cache": cache}
    augmented = dataset(augment=True, **options)[0, 1].media[0].values
    plain = dataset(training=False, **options)[1].media[0].values
    assert torch.equal(augmented, plain + 1.0)


def test_results_are_the_same_with_and_without_memory():
    kept = dataset(cache=MemoryCache(10**6))
    forgotten = dataset(cache=MemoryCache(0))
    for epoch in range(2):
        for index in range(len(kept)):
            a, b = kept[epoch, index], forgotten[epoch, index]
            assert np.array_equal(a.input_ids, b.input_ids)
            assert torch.equal(a.media[0].values, b.media[0].values)
    assert kept.cache.used > 0 and forgotten.cache.used == 0


def test_memory_stays_within_its_budget():
    cache = MemoryCache(5 * 8 * 4 * 3)
    samples = dataset(cache=cache)
    world.CALLS.clear()
    for _ in range(2):
        for index in range(6):
            samples[index]
    assert 0 < cache.used <= cache.budget
    assert len(world.CALLS) == 12 - 3


def test_datasets_share_media_but_not_texts():
    cache = MemoryCache()
    first = dataset(cache=cache)
    second = dataset(
        source=world.ColourSource(world.ColourConfig(start=1)), cache=cache, training=False
    )
    assert first[1].id == "s1" and second[1].id == "s2"
    world.CALLS.clear()
    assert first[2].id == "s2" and second[1].input_ids.tolist() == [4]
    assert world.CALLS == []


def test_removed_media_leave_the_text_as_it_was():
    item, bare = dataset()[2], dataset(media="removed")[2]
    assert np.array_equal(item.input_ids, bare.input_ids)
    assert bare.media == () and bare.media_positions.tolist() == []


def test_blank_media_are_zeros_and_alike():
    one, other = (dataset(media="blank")[index].media[0] for index in (0, 1))
    assert not one.values.any() and one.values.shape == (1, 5, 8)
    assert one.key == other.key


def test_an_unreadable_file_comes_back_as_a_value_that_names_it():
    source = world.ColourSource(world.ColourConfig(bad=[2]))
    failed = dataset(source)[2]
    assert isinstance(failed, Failed) and isinstance(failed.error, MediaError)
    assert (failed.id, failed.index) == ("s2", 2) and "bad/2" in str(failed.error)
    assert str(pickle.loads(pickle.dumps(failed)).error) == str(failed.error)


def test_an_unreadable_file_is_read_once():
    samples = dataset(world.ColourSource(world.ColourConfig(bad=[2])))
    world.CALLS.clear()
    samples[0, 2], samples[1, 2]
    assert world.CALLS == ["bad/2"]


def test_captions_share_the_news_that_their_file_is_bad():
    class Same(world.ColourSource):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "media": [{"type": "image", "path": "bad/0"}]}

    samples = dataset(Same(world.ColourConfig()))
    world.CALLS.clear()
    assert {samples[index].kind for index in range(5)} == {"unreadable"}
    assert world.CALLS == ["bad/0"]


def test_a_file_that_other_choices_may_read_is_tried_again_unless_it_is_slow(monkeypatch):
    class Choosy(world.ColourProcessor):
        def __call__(self, media, rng=None):
            if rng.random() < 0.5:
                raise MediaError(media["path"], "no such frame", "image")
            return super().__call__(media, rng)

    def kinds():
        samples = dataset(processor=Choosy(), augment=True)
        return [isinstance(samples[epoch, 3], Failed) for epoch in range(12)]

    assert set(kinds()) == {True, False}
    monkeypatch.setattr("mmadapt.data.dataset.SLOW_SECONDS", -1.0)
    seen = kinds()
    assert seen == sorted(seen) and seen[-1] and SLOW_SECONDS > 0


def test_what_a_processor_raises_speaks_of_the_file():
    class Broken(world.ColourProcessor):
        def __call__(self, media, rng=None):
            raise ZeroDivisionError("a side of 0 pixels")

    failed = dataset(processor=Broken())[3]
    assert failed.kind == "unreadable"
    assert "c3/3: cannot read image: its processor failed (ZeroDivisionError in" in str(
        failed.error
    )
    assert "test_dataset.py:" in str(failed.error) and "a side of 0 pixels" in str(failed.error)


def test_a_substitute_stands_in_and_tells_for_whom():
    samples = dataset(world.ColourSource(world.ColourConfig(bad=[2, 3])), substitute=True)
    item = samples[2]
    assert item.id == "s4" and [failure.id for failure in item.failed] == ["s2", "s3"]
    assert samples[4].failed == ()


def test_substitutes_run_out():
    source = world.ColourSource(world.ColourConfig(count=3, bad=[0, 1, 2]))
    failed = dataset(source, substitute=True)[1]
    assert isinstance(failed.error, DataError)
    assert "3 samples in a row cannot be used; the last: bad/0" in str(failed.error)
    assert [other.id for other in failed.others] == ["s1", "s2", "s0"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target": ""}, "no target"),
        (
            {"media": [{"type": "video", "path": "c0/0"}]},
            "has video media; the encoders read image",
        ),
        ({"prompt": " ".join(["red"] * 9)}, "has 11 tokens; at most 8 fit; shorten it"),
    ],
)
def test_a_sample_that_cannot_be_used_is_named(changes, reason):
    class Wrong(world.ColourSource):
        def __getitem__(self, index):
            return {**super().__getitem__(index), **changes}

    failed = dataset(Wrong(world.ColourConfig()), limit=LengthLimit(8), substitute=True)[3]
    assert isinstance(failed.error, DataError)
    assert "s3" in str(failed.error) and reason in str(failed.error)


def test_a_sample_without_a_labelled_token_is_an_error_not_a_loss_of_zero():
    class Unlabelled(world.PlainHead):
        def encode(self, *args, **kwargs):
            encoded = super().encode(*args, **kwargs)
            return replace(encoded, labels=[-100] * len(encoded.labels))

    failed = dataset(head=Unlabelled(None), substitute=True)[3]
    assert failed.kind == "wrong" and "s3: has no labelled token" in str(failed.error)


class Chatty(world.ColourSource):
    """Prompts of 3, 9, 3, 9, … words."""

    def __getitem__(self, index):
        prompt = " ".join(["say"] + ["dark"] * (1 + 6 * (index % 2)) + ["light"])
        return {**super().__getitem__(index), "prompt": prompt}


def test_a_sample_that_is_too_long_is_skipped_by_choice_before_its_media_are_read():
    limit = LengthLimit(8, "skip")
    samples = dataset(Chatty(world.ColourConfig()), limit=limit, substitute=True)
    world.CALLS.clear()
    item = samples[1]
    assert item.id == "s2" and [f.kind for f in item.failed] == ["too_long"]
    assert world.CALLS == ["c2/2"]
    assert dataset(Chatty(world.ColourConfig()), limit=limit)[1].kind == "too_long"
    assert dataset(Chatty(world.ColourConfig()), limit=LengthLimit(8))[1].kind == "wrong"


def test_the_prompt_is_cut_by_choice_and_media_and_answer_are_not():
    whole = dataset(Chatty(world.ColourConfig()))[1]
    inserted = InsertedTokens(0, 0, {"image": 1}, {"image": 2})
    limit = LengthLimit(len(whole.input_ids), "truncate_prompt", inserted)
    cut = dataset(Chatty(world.ColourConfig()), limit=limit)[1]
    assert len(cut.input_ids) == len(whole.input_ids) - 3
    assert np.array_equal(cut.input_ids, whole.input_ids[3:])  # this tokenizer has no BOS
    assert np.array_equal(cut.labels, whole.labels[3:])
    assert torch.equal(cut.media[0].values, whole.media[0].values)
    assert cut.media_positions.tolist() == [0]
    assert [(f.id, f.kind) for f in cut.failed] == [("s1", "truncated")]


def test_workers_hand_over_what_they_skip_and_cut():
    source = Chatty(world.ColourConfig(bad=[2]))
    told = {"skip": ["too_long", "unreadable", "too_long"], "truncate_prompt": ["truncated"]}
    for policy, kinds in told.items():
        samples = dataset(source, limit=LengthLimit(8, policy), substitute=True)
        for workers in (0, 2):
            loaded = DataLoader(samples, 2, num_workers=workers, collate_fn=Collator(0))
            first = next(iter(loaded))
            assert [f.kind for f in first["failed"]] == kinds


def test_every_file_reaches_every_encoder_of_its_kind():
    class Two(world.ColourSource):
        def __getitem__(self, index):
            part = {"type": "image", "path": "c1/1"}
            return {**super().__getitem__(index), "media": [part, {**part, "path": "c2/2"}]}

    samples = dataset(Two(world.ColourConfig()))
    samples.processors = {
        "a": ("image", world.ColourProcessor()),
        "b": ("image", world.ColourProcessor()),
    }
    item = samples[0]
    assert [(m.encoder, m.file) for m in item.media] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert item.media_positions.tolist() == [0, 0]


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = EpochSampler(20, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert len({tuple(i for _, i in order(*key)) for key in ((0, 1), (0, 2), (1, 1))}) == 3
    assert sorted(i for _, i in order(0, 1)) == list(range(20))
    assert {epoch for epoch, _ in order(0, 1)} == {1}
    assert list(EpochSampler(3, shuffle=False)) == [(0, 0), (0, 1), (0, 2)]


def test_workers_draw_what_the_main_process_draws():
    options = {"head": Guessing(None), "processor": world.ColourProcessor(noise=True)}
    samples = dataset(augment=True, **options)
    sampler = EpochSampler(len(samples), 5)
    sampler.set_epoch(4)
    loaded = [
        [
            item
            for batch in DataLoader(samples, 6, sampler=sampler, num_workers=n, collate_fn=list)
            for item in batch
        ]
        for n in (0, 2)
    ]
    for a, b in zip(*loaded, strict=True):
        assert a.id == b.id and np.array_equal(a.input_ids, b.input_ids)
        assert torch.equal(a.media[0].values, b.media[0].values)
