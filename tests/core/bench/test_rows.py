import pytest

from mmadapt.bench.rows import Row, summarize, table


def rows():
    return [
        Row("text-only", steps=[2.0, 4.0, 3.0], tokens_per_second={1: [10.0, 20.0, 10.0]}),
        Row("text-only-labelled", steps=[1.0, 4.0, 2.0]),
        Row("adem", 2**20, 2**30, [3.0, 4.0, 4.0], {1: [0.5, 0.1, 0.2]}, {1: [9.0, 10.0, 9.5]}),
    ]


def test_medians_and_ratios_of_the_same_rounds():
    floor, labelled, adem = summarize(rows(), batch_size=4, head_seconds=0.5)
    assert (floor.step_seconds, labelled.step_seconds, adem.step_seconds) == (3.0, 2.0, 4.0)
    assert adem.ratio_to_text_only == pytest.approx(4 / 3)  # of 1.5, 1, 1.33
    assert adem.ratio_to_labelled == 2.0  # of 3, 1, 2
    assert adem.samples_per_second == 1.0
    assert adem.first_token_seconds == {1: 0.2}
    assert adem.decode_ratio == {1: 0.9}  # of 0.9, 0.5, 0.95


def test_shares_sum_to_the_step():
    *_, adem = summarize(rows(), batch_size=4, head_seconds=0.5)
    assert adem.shares == {"head": 0.125, "lm": 0.375, "fusion": 0.5}


def test_without_floors_there_are_no_ratios():
    (adem,) = summarize(rows()[2:], batch_size=4, head_seconds=0.5)
    assert adem.ratio_to_text_only is None and adem.ratio_to_labelled is None
    assert adem.decode_ratio == {} and adem.shares == {}


def test_table_has_a_line_for_each_row():
    lines = table(summarize(rows(), 4, 0.5)).splitlines()
    assert [line.split()[0] for line in lines] == ["row", "text-only", "text-only-labelled", "adem"]
    assert len({len(line) for line in lines}) == 1
    assert "1,024" in lines[3] and " - " in lines[1]
