"""Every promise of the head contract is broken once."""

from dataclasses import replace

import pytest

from mmadapt.contracts import Head, HeadConfig
from mmadapt.testing import HeadContract
from mmadapt.text import MEDIA_MARKER


class Good(Head):
    """Prompt and target of the sample."""

    Config = HeadConfig


class NoEnd(Good):
    def encode(self, *args, with_target, **options):
        encoded = super().encode(*args, with_target=with_target, **options)
        cut = -1 if with_target else None
        return replace(encoded, input_ids=encoded.input_ids[:cut], labels=encoded.labels[:cut])


class LearnsPrompts(Good):
    def __init__(self, config):
        super().__init__(config)
        self.learn_prompt = True


class LearnsNothing(Good):
    def encode(self, *args, **options):
        encoded = super().encode(*args, **options)
        return replace(encoded, labels=[-100] * len(encoded.labels))


class TellsTheTarget(Good):
    def prompt(self, sample):
        return f"{super().prompt(sample)} {sample.get('target')}"


class AsksOtherwise(Good):
    def encode(self, sample, tokenizer, *, with_target, rng=None):
        if not with_target:
            sample = {**sample, "prompt": f"the {sample.get('prompt') or ''}"}
        return super().encode(sample, tokenizer, with_target=with_target, rng=rng)


class LosesMedia(Good):
    def encode(self, *args, **options):
        return replace(super().encode(*args, **options), media_positions=[])


class PutsMediaBehind(Good):
    def encode(self, *args, **options):
        encoded = super().encode(*args, **options)
        return replace(
            encoded, media_positions=[len(encoded.input_ids)] * len(encoded.media_positions)
        )


class LeavesMarkers(Good):
    def prompt(self, sample):
        return super().prompt(sample).replace(MEDIA_MARKER, "< media >")


class Stays(Good):
    def __init__(self, config):
        super().__init__(config)
        self.lower = lambda text: text.lower()


class Mishears(Good):
    def answer(self, sample, text):
        return text[1:]


class Mumbles(Good):
    def target(self, sample, rng=None):
        return None if sample.get("target") is None else "um"


class Writes(Good):
    def prompt(self, sample):
        sample["meta"] = {"seen": True}
        return super().prompt(sample)


class LeansOnPadding(Good):
    def encode(self, sample, tokenizer, **options):
        encoded = super().encode(sample, tokenizer, **options)
        if tokenizer.padding_side == "left":
            encoded.media_positions[:] = [0] * len(encoded.media_positions)
        return encoded


class MakesUp(Good):
    def target(self, sample, rng=None):
        return sample.get("target") or "something"


FLAWS = {
    NoEnd: "test_targets_end",
    LearnsPrompts: "test_only_targets_are_labelled",
    LearnsNothing: "test_only_targets_are_labelled",
    TellsTheTarget: "test_a_prompt_is_the_beginning_of_what_is_learnt",
    AsksOtherwise: "test_a_prompt_is_the_beginning_of_what_is_learnt",
    LosesMedia: "test_media_stand_before_the_target",
    PutsMediaBehind: "test_media_stand_before_the_target",
    LeavesMarkers: "test_media_stand_before_the_target",
    LeansOnPadding: "test_the_padding_side_changes_nothing",
    Stays: "test_it_travels_to_loader_workers",
    Mishears: "test_the_target_answers_right",
    Mumbles: "test_the_target_answers_right",
    Writes: "test_chance_is_the_generators_alone",
    MakesUp: "test_a_sample_without_target_cannot_be_learnt",
}


def contract_of(head):
    class Contract(HeadContract):
        def make(self):
            return head(HeadConfig())

        def samples(self):
            image = {"type": "image", "path": "x.png"}
            return [
                {"id": "a", "prompt": "see <media> now", "target": "a cat", "media": [image]},
                {"id": "b", "prompt": "say", "target": "a dog"},
            ]

    return Contract()


PROMISES = [name for name in dir(HeadContract) if name.startswith("test_")]


@pytest.mark.parametrize("promise", PROMISES)
def test_a_good_head_keeps_every_promise(promise):
    getattr(contract_of(Good), promise)()


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.__name__)
def test_a_broken_promise_is_found(flaw):
    with pytest.raises((Exception, pytest.fail.Exception)):
        getattr(contract_of(flaw), FLAWS[flaw])()


def test_every_promise_can_be_broken():
    # Truncation is the core's; a head cannot break it.
    assert {*FLAWS.values(), "test_a_cut_prompt_keeps_media_and_target"} == set(PROMISES)
