import pytest

from mmadapt.bench.rows import Row, summarize, table


def rows():
    return [
        Row("text-only", steps=[2.0, 4.0, 3.0], tokens_per_second={1: [10.0, 20.0, 10.0]}),
        Row("text-only-labelled", steps=[1.0, 4.0, 2.0]),
        Row("adem", 2**20, 2**30, [3.0, 4.0, 4.0], {1: [0.5, 0.1, 0.2]}, {1: [9.0, 10.0, 9.5]}),
    ]


def test_medians_and_ratios_of_the_same_rounds():
    floor, labelled, adem = summarize(rows(), batch_size=4)
    assert (floor.step_seconds, labelled.step_seconds, adem.step_seconds) == (3.0, 2.0, 4.0)
    assert adem.ratio_to_text_only == pytest.approx(4 / 3)  # of 1.5, 1, 1.33
    assert adem.ratio_to_labelled == 2.0  # of 3, 1, 2
    assert adem.samples_per_second == 1.0
    assert adem.first_token_seconds == {1: 0.2}
    assert adem.decode_ratio == {1: 0.9}  # of 0.9, 0.5, 0.95


def clocked(**seconds):
    return dict.fromkeys(("decode", "encoder", "fusion", "lm", "head"), 0.0) | seconds


def test_shares_are_of_all_rounds_together():
    row = Row("adem", stages=[clocked(lm=3.0, head=1.0), clocked(lm=2.0, fusion=2.0)])
    (result,) = summarize([row], batch_size=4)
    assert result.shares == clocked(lm=5 / 8, head=1 / 8, fusion=2 / 8)
    text = table([result])
    assert "62.5%" in text and "mmadapt bench RECIPE --data" in text


def test_without_floors_there_are_no_ratios():
    (adem,) = summarize(rows()[2:], batch_size=4)
    assert adem.ratio_to_text_only is None and adem.ratio_to_labelled is None
    assert adem.decode_ratio == {} and adem.shares == {}


def test_table_has_a_line_for_each_row():
    lines = table(summarize(rows(), 4)).splitlines()
    assert [line.split()[0] for line in lines] == ["row", "text-only", "text-only-labelled", "adem"]
    assert len({len(line) for line in lines}) == 1
    assert "1,024" in lines[3] and " - " in lines[1]
