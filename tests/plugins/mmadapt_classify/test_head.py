import pytest
from pydantic import ValidationError

from mmadapt.errors import DataError, RecipeError
from mmadapt_classify.head import ClassifyConfig, ClassifyHead
from tests.tiny import tiny_tokenizer

HEAD = ClassifyHead(ClassifyConfig(classes=["cat", "big dog"]))


def test_the_classes_are_the_recipes_or_the_samples():
    choices = {"id": "1", "choices": ["x", "y"]}
    assert HEAD.candidates(choices) == ["cat", "big dog"]
    assert ClassifyHead(ClassifyConfig()).candidates(choices) == ["x", "y"]
    with pytest.raises(RecipeError, match=r"head\.classes is missing; .* sample 1 has none"):
        ClassifyHead(ClassifyConfig()).candidates({"id": "1"})


@pytest.mark.parametrize("classes", [["x"], ["x", "x "], ["x", ""]])
def test_classes_must_differ(classes):
    with pytest.raises(ValidationError, match="classes"):
        ClassifyConfig(classes=classes)


def test_the_prompt_is_the_samples_own_or_goes_into_the_template():
    assert HEAD.prompt({"id": "1"}) == "this is"
    assert HEAD.prompt({"id": "1", "prompt": "it is"}) == "it is"
    asking = ClassifyHead(ClassifyConfig(prompt="Q {question} A"))
    assert asking.prompt({"id": "1", "prompt": "what?"}) == "Q what? A"
    with pytest.raises(DataError, match="sample:1: has no question"):
        asking.prompt({"id": "1"})


def test_the_target_is_one_of_the_classes():
    assert HEAD.target({"id": "1", "target": "cat", "answers": ["big dog"]}) == "cat"
    assert HEAD.target({"id": "1", "answers": ["big dog"]}) == "big dog"
    assert HEAD.target({"id": "1", "references": ["cat"]}) == "cat"
    assert HEAD.target({"id": "1"}) is None
    with pytest.raises(DataError, match="sample:1: has the class 'bird', which is not among"):
        HEAD.target({"id": "1", "target": "bird"})


def test_only_the_class_is_learnt():
    tokenizer = tiny_tokenizer(["this", "is", "cat", "big", "dog"])
    encoded = HEAD.encode({"id": "1", "target": "big dog"}, tokenizer, with_target=True)
    tokens = tokenizer.convert_ids_to_tokens(encoded.input_ids)
    assert tokens == ["this", "is", "big", "dog", "</s>"]
    assert encoded.labels == [-100, -100, *encoded.input_ids[2:]]
