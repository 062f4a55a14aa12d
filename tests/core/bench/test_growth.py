import json

import numpy as np
import pytest

from mmadapt.bench.growth import fitted, growth, growth_table
from mmadapt.bench.rows import Result

ITEMS = [1, 4, 16, 64, 256]


def row(name, seconds, peak=2**30):
    return Result(name, seconds, None, None, None, peak, 0, {}, {}, {}, {})


def noisy(values):
    return [value * (1.01 if k % 2 else 0.99) for k, value in enumerate(values)]


def test_a_line_stays_one_under_noise():
    curve = fitted(ITEMS, noisy([0.5 + 0.002 * n for n in ITEMS]))
    assert curve.slope == pytest.approx(0.002, rel=0.1)
    assert abs(curve.quadratic) < 0.1 and curve.kind == "linear"


def test_a_parabola_is_told_from_a_line():
    curve = fitted(ITEMS, noisy([0.5 + 0.002 * n + 2e-5 * n * n for n in ITEMS]))
    assert curve.quadratic == pytest.approx(2e-5 * 256**2 / (1.012 + 2e-5 * 256**2), rel=0.1)
    assert curve.kind == "quadratic" and curve.last_slope > 2 * curve.first_slope


def test_few_long_samples_do_not_drown_the_short_ones():
    items, values = [1, 2, 3, 100], [1.0, 2.0, 3.0, 200.0]
    assert fitted(items, values).slope < 1.5  # 2.0 where all residuals count alike


def test_the_parabola_too_counts_residuals_relative_to_the_values():
    values = np.array([1.0, 2.0, 10.0, 40.0, 100.0])
    powers = np.stack([np.array(ITEMS) ** k for k in (2, 1, 0)], axis=1)
    relative, alike = (
        float(np.linalg.lstsq(powers / y[:, None], values / y)[0][0] * 256**2 / 100)
        for y in (values, np.ones(5))
    )
    assert fitted(ITEMS, values).quadratic == pytest.approx(relative) and relative > alike + 0.3


def test_what_flattens_is_told_too():
    curve = fitted(ITEMS, [n**0.5 for n in ITEMS])
    assert curve.kind == "less than linear" and curve.first_slope > 4 * curve.last_slope
    assert (curve.first_slope, curve.last_slope) == (3 / 15, 8 / 192)


def test_three_counts_are_too_few_for_a_parabola():
    assert fitted([1, 2, 3], [1.0, 4.0, 9.0]).kind == "-"


def test_a_term_of_a_tenth_is_called_quadratic():
    for share, kind in ((0.08, "linear"), (0.12, "quadratic")):
        values = [(1 - share) * n / 256 + share * (n / 256) ** 2 for n in ITEMS]
        curve = fitted(ITEMS, values)
        assert curve.quadratic == pytest.approx(share) and curve.kind == kind


def test_the_table_has_time_and_memory_of_every_row():
    found = growth(
        {n: [row("adem", 1 + n / 100), row("prefix", 1 + n * n / 100, n * 2**20)] for n in ITEMS}
    )
    assert [g.seconds.kind for g in found] == ["linear", "quadratic"]
    assert json.loads(json.dumps(found[1].to_dict()))["kind"] == "quadratic"
    text = growth_table(found)
    assert text.count("n=256") == text.count("prefix") == 2
    rows = [line.replace("-0.0%", "0.0%").split() for line in text.splitlines()]
    adem, prefix = (next(row for row in rows if row[:1] == [name]) for name in ("adem", "prefix"))
    seconds = ["1.010", "1.040", "1.160", "1.640", "3.560"]
    assert adem == ["adem", *seconds, "10.000", "10.000", "10.000", "0.0%", "linear"]
    assert prefix[-2:] == ["99.8%", "quadratic"]
    memory = [row for row in rows if row[:1] == ["prefix"]][1]
    mib = ["1.000", "1.000", "1.000", "0.0%", "linear"]
    assert memory == ["prefix", "1", "4", "16", "64", "256", *mib]
    assert found[1].bytes.slope == pytest.approx(2**20)


def test_counts_are_sorted_and_a_row_that_lacks_one_is_left_out():
    by_items = {n: [row("adem", float(n), n * 2**20), row("prefix", float(n))] for n in (64, 1, 4)}
    by_items[4][1] = row("prefix", None)
    by_items[1][0] = row("adem", 1.0, None)
    (one,) = growth(by_items)
    assert (one.name, one.items, one.step_seconds) == ("adem", [1, 4, 64], [1.0, 4.0, 64.0])
    assert one.bytes is None and one.seconds.slope == pytest.approx(1.0)


def test_one_count_shows_no_growth_and_unknown_memory_no_table():
    assert growth({1: [row("adem", 1.0)]}) == [] and growth_table([]) == ""
    found = growth({1: [row("adem", 1.0, None)], 2: [row("adem", 2.0, None)]})
    assert found[0].bytes is None and found[0].seconds.kind == "-"
    assert "peak" not in growth_table(found)


def test_generation_alone_has_no_steps():
    assert growth({1: [row("adem", None)], 2: [row("adem", None)]}) == []
