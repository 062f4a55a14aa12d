import pytest

from mmadapt.errors import DataError
from mmadapt_choice.scienceqa import Scienceqa, ScienceqaConfig


def problem(subject, grade, hint="", has_image=False):
    meta = {"subject": subject, "grade": f"grade{grade}", "hint": hint, "has_image": has_image}
    return {"id": "1", "answers": ["x"], "meta": meta}


def test_every_problem_counts_in_its_columns():
    metric = Scienceqa(ScienceqaConfig())
    metric.update(problem("natural science", 2, hint="h", has_image=True), "x")
    metric.update(problem("natural science", 6), "y")
    metric.update(problem("social science", 7, has_image=True), "x")
    metric.update(problem("language science", 12, hint="h"), "")
    result = metric.compute()
    assert result.per_sample == [1, 0, 1, 0]
    assert result.values == pytest.approx(
        {
            "scienceqa_NAT": 0.5,
            "scienceqa_SOC": 1.0,
            "scienceqa_LAN": 0.0,
            "scienceqa_TXT": 0.5,
            "scienceqa_IMG": 1.0,
            "scienceqa_NO": 0.0,
            "scienceqa_G1-6": 0.5,
            "scienceqa_G7-12": 0.5,
            "scienceqa": 0.5,
        }
    )
    assert list(result.values)[-1] == "scienceqa"


def test_columns_without_problems_are_left_out():
    metric = Scienceqa(ScienceqaConfig())
    metric.update({"id": "1", "references": ["x"]}, "x")
    assert metric.compute().values == {"scienceqa_NO": 1.0, "scienceqa": 1.0}


def test_nothing_to_compare_with_is_an_error():
    metric = Scienceqa(ScienceqaConfig())
    with pytest.raises(DataError, match="metric:3: has no answer"):
        metric.update({"id": "3"}, "x")
    with pytest.raises(DataError, match="no answer to score"):
        metric.compute()
