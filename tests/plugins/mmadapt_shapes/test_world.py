"""The splits: every combination in one of them, every pair of values seen in training."""

from itertools import combinations as pairs

import pytest

from mmadapt_shapes import world

MEDIUMS = ("video", "image", "audio")


@pytest.mark.parametrize("medium", MEDIUMS)
def test_every_combination_belongs_to_exactly_one_split(medium):
    groups = [{tuple(c.values()) for c in world.combinations(medium, s)} for s in world.SPLITS]
    assert sum(len(group) for group in groups) == len(world.all_combinations(medium))
    assert set.union(*groups) == {tuple(c.values()) for c in world.all_combinations(medium)}


@pytest.mark.parametrize("medium", MEDIUMS)
def test_training_sees_every_pair_of_values(medium):
    fields = world.FIELDS[medium]
    train = world.combinations(medium, "train")
    for one, other in pairs(fields, 2):
        seen = {(c[one], c[other]) for c in train}
        assert len(seen) == len(fields[one]) * len(fields[other]), (one, other)


@pytest.mark.parametrize("medium", MEDIUMS)
@pytest.mark.parametrize("split", ("validation", "test"))
def test_held_out_share_and_coverage(medium, split):
    held_out = world.combinations(medium, split)
    assert 0.1 < len(held_out) / len(world.all_combinations(medium)) < 0.2
    for name, values in world.FIELDS[medium].items():
        assert {c[name] for c in held_out} == set(values), "each value is tested"


def test_a_guess_is_rarely_right():
    assert 1 / len(world.all_combinations("video")) < 0.02
    assert 1 / len(world.all_combinations("image")) < 0.02
    assert 1 / len(world.all_combinations("audio")) < 0.02


def test_captions_tell_combinations_apart():
    for medium in MEDIUMS:
        kinds = world.all_combinations(medium)
        assert len({world.caption(medium, c) for c in kinds}) == len(kinds)


def test_joint_caption_names_both():
    clip = {"colour": "red", "shape": "ring", "motion": "growing"}
    sound = {"pitch": "low", "timbre": "pure", "contour": "rising", "rhythm": "without pause"}
    words = world.joint_caption(clip, sound)
    assert words == "a red ring growing with a low pure tone rising without pause"
