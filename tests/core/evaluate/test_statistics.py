import numpy as np
import pytest

from mmadapt.evaluate.statistics import difference, interval


def test_the_interval_of_one_run_is_that_of_a_mean():
    scores = np.random.default_rng(0).normal(2.0, 3.0, 400)
    found = interval([scores])
    wide = 1.96 * scores.std() / 20  # the normal approximation, an independent source
    assert found.mean == pytest.approx(scores.mean())
    assert found.low == pytest.approx(scores.mean() - wide, abs=0.05)
    assert found.high == pytest.approx(scores.mean() + wide, abs=0.05)


def test_the_spread_of_seeds_widens_the_interval():
    same = interval([[0.0, 1.0] * 50] * 3)
    spread = interval([[0.0] * 100, [0.5] * 100, [1.0] * 100])
    assert same.mean == spread.mean == 0.5
    assert spread.high - spread.low > 3 * (same.high - same.low)


def test_pairing_finds_a_small_difference_that_intervals_hide():
    rng = np.random.default_rng(0)
    first = rng.normal(0.0, 1.0, 200)
    second = first + 0.05 + rng.normal(0.0, 0.1, 200)
    gap = difference([first], [second])
    assert gap.mean == pytest.approx((second - first).mean())
    assert gap.is_more_than_noise and 0 < gap.low < gap.mean < gap.high
    apart, other = interval([first]), interval([second])
    assert apart.high > other.low


def test_noise_is_called_noise():
    rng = np.random.default_rng(1)
    called = sum(
        difference([rng.normal(size=80)], [rng.normal(size=80)]).is_more_than_noise
        for _ in range(40)
    )
    assert called <= 6  # 5 % of 40 are expected


def test_runs_of_other_samples_are_refused():
    with pytest.raises(ValueError, match="same samples"):
        difference([[1.0, 2.0]], [[1.0]])


def test_intervals_are_the_same_every_time():
    assert interval([[0.0, 1.0, 1.0]]) == interval([[0.0, 1.0, 1.0]])
