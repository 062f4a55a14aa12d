import pytest

from mmadapt.errors import DataError
from mmadapt_vqa.exact_match import ExactMatch, ExactMatchConfig


def scored(pairs, **options):
    metric = ExactMatch(ExactMatchConfig(**options))
    for number, (answer, references) in enumerate(pairs):
        meta = {"structural": "verify" if number % 2 else "query"}
        metric.update({"id": str(number), "references": references, "meta": meta}, answer)
    return metric.compute()


def test_case_and_punctuation_do_not_count_by_default():
    result = scored([("A red Ball.", ["x", "a red ball"]), ("a red", ["a red ball"])])
    assert (result.values, result.per_sample) == ({"exact_match": 0.5}, [1.0, 0.0])
    assert result.settings["normaliser"].startswith("caption: ")


# answer, label, and whether they match: with the caption tokens, with VQA's rules, as they are
CASES = [
    ("man", "man", (1, 1, 1)),
    (" man\n", "man", (1, 1, 1)),
    ("Man.", "man", (1, 1, 0)),
    ("a man", "man", (0, 1, 0)),
    ("two", "2", (0, 1, 0)),
    ("none", "0", (0, 1, 0)),
    ("dont know", "don't know", (0, 1, 0)),
    ("left/right", "left right", (0, 1, 0)),
    ("1,000", "1000", (0, 1, 0)),
    ("men", "man", (0, 0, 0)),
    ("", "the", (0, 1, 0)),  # nothing is left of either, as in the published evaluation
]


@pytest.mark.parametrize(("answer", "label", "expected"), CASES)
def test_the_normaliser_is_chosen(answer, label, expected):
    found = [
        scored([(answer, [label])], normaliser=normaliser).values["exact_match"]
        for normaliser in ("caption", "vqa", "none")
    ]
    assert tuple(found) == expected


def test_vqa_rules_hold_even_where_all_references_are_equal():
    """Unlike VQA accuracy, which compares as they are what everybody said."""
    assert scored([("Two", ["two"] * 10)], normaliser="vqa").values == {"exact_match": 1.0}


def test_shares_by_a_field_of_the_sample():
    pairs = [("a", ["a"]), ("b", ["a"]), ("c", ["a"]), ("a", ["a"])]
    result = scored(pairs, normaliser="none", by=["structural"])
    assert result.values == {
        "exact_match_structural=query": 0.5,
        "exact_match_structural=verify": 0.5,
        "exact_match": 0.5,
    }
    assert result.settings["by"] == ["structural"]


def test_answers_and_the_target_stand_in_for_references():
    metric = ExactMatch(ExactMatchConfig(normaliser="vqa"))
    metric.update({"id": "1", "answers": ["cat"]}, "a cat")
    metric.update({"id": "2", "target": "a cat"}, "the cat")
    assert metric.compute().values == {"exact_match": 1.0}


def test_nothing_to_compare_with_is_an_error():
    metric = ExactMatch(ExactMatchConfig())
    with pytest.raises(DataError, match="no answer"):
        metric.compute()
    with pytest.raises(DataError, match="a7: has no reference"):
        metric.update({"id": "a7"}, "text")
    with pytest.raises(DataError, match="single word"):
        metric.update({"id": "a7", "references": ["..."]}, "text")
