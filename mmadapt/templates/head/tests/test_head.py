"""What the head asks, teaches and answers."""

import numpy as np
import pytest

from mmadapt.errors import DataError
from mmadapt.testing.tiny import tiny_tokenizer
from mmadapt_example.head import ExampleConfig, ExampleHead

SAMPLE = {"id": "1", "references": ["a red ball", "a ball"], "media": []}


@pytest.fixture
def head():
    return ExampleHead(ExampleConfig())


def test_only_the_target_is_learnt(head):
    tokenizer = tiny_tokenizer("this shows a red ball".split())
    encoded = head.encode(SAMPLE, tokenizer, with_target=True)
    labelled = [token for token in encoded.labels if token != -100]
    assert tokenizer.decode(labelled) == "a red ball </s>"
    prompt = head.encode(SAMPLE, tokenizer, with_target=False)
    assert encoded.input_ids[: len(prompt.input_ids)] == prompt.input_ids


def test_targets_vary_in_training_only(head):
    rng = np.random.default_rng(0)
    assert {head.target(SAMPLE, rng) for _ in range(20)} == {"a red ball", "a ball"}
    assert {head.target(SAMPLE) for _ in range(20)} == {"a red ball"}


def test_the_sample_goes_before_the_recipe(head):
    assert head.prompt(SAMPLE) == "this shows"
    assert head.prompt({**SAMPLE, "prompt": "here is"}) == "here is"


def test_the_answer_is_the_first_line(head):
    assert head.answer(SAMPLE, " a red ball\nand more") == "a red ball"
    assert head.answer(SAMPLE, "  ") == ""


def test_a_sample_without_target_names_itself(head):
    with pytest.raises(DataError, match="the bare one"):
        head.encode({"id": "the bare one"}, tiny_tokenizer(), with_target=True)
