"""Where two records differ."""

import pytest

from mmadapt.differences import differences

RECORD = {"lm": {"model": "a", "dtype": "auto"}, "encoders": {"image": 1}}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (RECORD, []),
        ({**RECORD, "lm": {"model": "b", "dtype": "auto"}}, ["lm.model"]),
        ({"lm": RECORD["lm"]}, ["encoders"]),
        ({**RECORD, "seed": 0, "encoders": None}, ["encoders", "seed"]),
        (None, ["the whole"]),
    ],
)
def test_dotted_keys(now, expected):
    assert differences(RECORD, now, "the whole") == expected
