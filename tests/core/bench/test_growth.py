import json

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


def test_the_table_has_time_and_memory_of_every_row():
    found = growth(
        {n: [row("adem", 1 + n / 100), row("prefix", 1 + n * n / 100, n * 2**20)] for n in ITEMS}
    )
    assert [g.seconds.kind for g in found] == ["linear", "quadratic"]
    assert json.loads(json.dumps(found[1].to_dict()))["kind"] == "quadratic"
    text = growth_table(found)
    assert "10.000" in text and "n=256" in text and text.count("prefix") == 2
    assert found[1].bytes.slope == pytest.approx(2**20)


def test_one_count_shows_no_growth_and_unknown_memory_no_table():
    assert growth({1: [row("adem", 1.0)]}) == [] and growth_table([]) == ""
    found = growth({1: [row("adem", 1.0, None)], 2: [row("adem", 2.0, None)]})
    assert found[0].bytes is None and found[0].seconds.kind == "-"
    assert "peak" not in growth_table(found)


def test_generation_alone_has_no_steps():
    assert growth({1: [row("adem", None)], 2: [row("adem", None)]}) == []
