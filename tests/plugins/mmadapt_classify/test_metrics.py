import pytest

from mmadapt.errors import DataError
from mmadapt_classify.metrics import Accuracy, AccuracyConfig, MacroF1, NoOptions

ANSWERS = ["a", "B ", "c", "a", "d", "a"]
RIGHT = ["a", "b", "b", "c", "a", "a"]


def scored(metric, right=RIGHT, answers=ANSWERS):
    for number, (answer, one) in enumerate(zip(answers, right, strict=True)):
        given = one if isinstance(one, list) else [one]
        meta = {"kind": "even" if number % 2 == 0 else "odd"}
        metric.update({"id": str(number), "answers": given, "meta": meta}, answer)
    return metric.compute()


def test_accuracy_is_the_share_of_right_answers():
    result = scored(Accuracy(AccuracyConfig()))
    assert result.per_sample == [1, 1, 0, 0, 0, 1]
    assert result.values == {"accuracy": 0.5}


def test_accuracy_by_a_field_of_the_sample():
    result = scored(Accuracy(AccuracyConfig(by=["kind"])))
    assert result.values == pytest.approx(
        {"accuracy_kind=even": 1 / 3, "accuracy_kind=odd": 2 / 3, "accuracy": 0.5}
    )
    assert list(result.values)[-1] == "accuracy"


def test_macro_f1_averages_over_all_classes_met():
    # scikit-learn 1.x, f1_score(average="macro") of these lists: a 2/3, b 2/3, c 0, d 0
    assert scored(MacroF1(NoOptions())).values == pytest.approx({"macro_f1": 1 / 3})
    assert scored(MacroF1(NoOptions()), answers=RIGHT).values == {"macro_f1": 1.0}


def test_any_of_several_right_answers_is_right():
    right = [["x", "a"], "b", "c", "a", "d", "a"]
    assert scored(Accuracy(AccuracyConfig()), right).values == {"accuracy": 1.0}
    assert scored(MacroF1(NoOptions()), right).values == {"macro_f1": 1.0}


def test_targets_and_references_stand_in_for_answers():
    metric = Accuracy(AccuracyConfig())
    metric.update({"id": "1", "target": "x"}, "x")
    metric.update({"id": "1", "references": ["y"]}, "x")
    assert metric.compute().values == {"accuracy": 0.5}


def test_nothing_to_compare_with_is_an_error():
    with pytest.raises(DataError, match="metric:7: has no answer to compare with"):
        Accuracy(AccuracyConfig()).update({"id": "7"}, "x")
    with pytest.raises(DataError, match="no answer to score"):
        MacroF1(NoOptions()).compute()
