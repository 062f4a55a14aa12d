"""Expected values are what the official evaluation gave for these texts."""

import pytest

from mmadapt.errors import DataError
from mmadapt_vqa.metric import VqaAccuracy, VqaAccuracyConfig, agreement
from mmadapt_vqa.normalise import normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The two dogs, dont move.", "2 dogs don't move"),
        ("3,000 people", "3000 people"),
        ("left/right", "left right"),
        ("well-known - place", "wellknown place"),
        ("10:30 p.m.", "10:30 pm"),
        ("none", "0"),
        ("What?!", "what"),
        ("2. 5", "2 5"),
        ("3.5", "3.5"),
        ("somebody'd go", "somebodyd go"),
        ("yalld've", "yalld've"),
        ("'Ow'sat", "'ow's'at"),
        ("a\tcat\n", "cat"),
        ("." * 40, "." * 8),
    ],
)
def test_answers_are_reduced_as_the_official_evaluation_does(text, expected):
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("answer", "people", "expected"),
    [
        ("two", ["2"] * 3 + ["3"] * 7, 0.9),
        ("two", ["two"] * 10, 1.0),
        ("Two", ["two"] * 10, 0.0),  # nothing is normalised where everybody agrees
        ("a dog.", ["dog"] * 2 + ["cat"] * 8, 0.6),
        ("x", ["x"] + ["y"] * 9, 0.3),
        ("x", ["x"] * 4 + ["y"] * 6, 1.0),
        ("z", ["x"] * 4 + ["y"] * 6, 0.0),
    ],
)
def test_agreement_leaves_each_person_out_in_turn(answer, people, expected):
    assert agreement(answer, people) == pytest.approx(expected)


def test_means_overall_and_by_type():
    metric = VqaAccuracy(VqaAccuracyConfig())
    for kind, answer in (("number", "two"), ("other", "x"), ("other", "zzz")):
        people = ["2"] * 3 + ["x"] * 7
        metric.update({"id": "1", "answers": people, "meta": {"answer_type": kind}}, answer)
    result = metric.compute()
    assert result.per_sample == pytest.approx([0.9, 1.0, 0.0])
    assert result.values == pytest.approx(
        {"vqa_accuracy_number": 0.9, "vqa_accuracy_other": 0.5, "vqa_accuracy": 1.9 / 3}
    )
    assert list(result.values)[-1] == "vqa_accuracy"


def test_too_few_people_and_no_answers_are_errors():
    metric = VqaAccuracy(VqaAccuracyConfig())
    with pytest.raises(DataError, match="no answer to score"):
        metric.compute()
    with pytest.raises(DataError, match=r"metric:9: has 1 answers.*use exact_match or accuracy"):
        metric.update({"id": "9", "answers": ["x"]}, "x")
    weighted = {"id": "9", "answers": ["x"] * 5, "answer_weights": [1.0] * 5}
    with pytest.raises(DataError, match="weighted answers"):
        metric.update(weighted, "x")
