"""Which level enters which layer, and what is refused."""

from __future__ import annotations

import pytest

from mmadapt.contracts import EncoderInfo, FusionContext
from mmadapt.errors import RecipeError
from mmadapt_epalm.config import EpalmConfig
from mmadapt_epalm.schedule import plan


def of(depth: int = 32, blocks: int = 12, **options: object) -> FusionContext:
    info = EncoderInfo("image", 768, blocks, num_prefix_tokens=1)
    return FusionContext("epalm", 2560, 2560, depth, 32, {"image": info})


def test_published_layers() -> None:
    """Six levels over layers 19 to 30 of 32, two layers each."""
    schedule = plan(EpalmConfig(mode="published"), of())
    assert (schedule.num_levels, schedule.start, schedule.end) == (6, 19, 31)
    assert dict(schedule.level_at) == {19 + j: j // 2 for j in range(12)}


def test_the_default_goes_on_to_the_last_layer() -> None:
    schedule = plan(EpalmConfig(), of())
    assert schedule.end == 32 and schedule.level_at[31] == 5


def test_the_deepest_level_serves_the_remainder() -> None:
    schedule = plan(EpalmConfig(levels=3, start=1, end=9), of())
    assert list(schedule.level_at.values()) == [0, 0, 1, 1, 2, 2, 2, 2]


def test_as_many_layers_as_levels() -> None:
    assert plan(EpalmConfig(levels=4, start=2, end=6), of()).level_at == {2: 0, 3: 1, 4: 2, 5: 3}


def test_one_level_for_all_layers() -> None:
    assert set(plan(EpalmConfig(levels=1), of()).level_at.values()) == {0}


def test_the_interval_counts_layers_from_the_first_of_the_lm() -> None:
    schedule = plan(EpalmConfig(levels=2, start=1, end=7, interval=2), of())
    assert schedule.start == 2
    assert schedule.level_at == {2: 0, 4: 1, 6: 1}


@pytest.mark.parametrize(("depth", "blocks", "levels"), [(32, 4, 4), (6, 12, 3), (2, 12, 1)])
def test_levels_are_as_many_as_encoder_and_layers_allow(
    depth: int, blocks: int, levels: int
) -> None:
    schedule = plan(EpalmConfig(), of(depth, blocks))
    assert schedule.num_levels == levels
    assert set(schedule.level_at.values()) == set(range(levels))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"start": 32}, "no layer"),
        ({"end": 33}, "does not have"),
        ({"start": 5, "end": 6, "interval": 4}, "no layer"),
        ({"levels": 6, "start": 30}, "levels: 2"),
        ({"levels": 6, "interval": 4, "start": 19, "end": 31}, r"\[1, 3, 5\].*levels: 3"),
    ],
)
def test_refused(options: dict[str, int], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        plan(EpalmConfig(**options), of())


def test_the_number_of_levels_that_a_refusal_names_is_accepted() -> None:
    plan(EpalmConfig(levels=3, interval=4, start=19, end=31), of())
