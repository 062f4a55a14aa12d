import numpy as np
import pytest
from pydantic import ValidationError

from mmadapt.errors import DataError, ModelError
from mmadapt.text import add_special_tokens
from mmadapt_vqa.head import VqaConfig, VqaHead
from tests.tiny import tiny_tokenizer

WORDS = ["question", ":", "answer", "what", "is", "it", "?", "cat", "dog", "a"]
SAMPLE = {"id": "1", "prompt": "what is it?", "answers": ["dog", "cat", "cat", "a cat"]}
EPALM = VqaConfig(
    prompt="{question}?</a>",
    separator="",
    special_tokens=["</a>"],
    target="by_score",
    learn_prompt=True,
    loss="sum_per_sample",
    loss_scale=0.1,
)


def drawn(head, sample, count=2000):
    rng = np.random.default_rng(0)
    said = [head.target(sample, rng) for _ in range(count)]
    return {answer: said.count(answer) / count for answer in set(said)}


def test_the_question_goes_into_the_template():
    head = VqaHead(VqaConfig(prompt="<media> Q {question} A"))
    assert head.prompt({"id": "1", "prompt": " why {this}? "}) == "<media> Q why {this}? A"
    with pytest.raises(ValidationError, match=r"must hold \{question\}"):
        VqaConfig(prompt="what?")


@pytest.mark.parametrize("prompt", [None, "", "  "])
def test_a_sample_without_a_question_is_an_error(prompt):
    with pytest.raises(DataError, match="sample:7: has no question; give one as `question`"):
        VqaHead(VqaConfig()).prompt({"id": "7", "prompt": prompt})


def test_answers_are_drawn_as_often_as_they_were_given():
    shares = drawn(VqaHead(VqaConfig()), SAMPLE)
    assert shares == pytest.approx({"dog": 0.25, "cat": 0.5, "a cat": 0.25}, abs=0.04)


def test_soft_scores_level_the_answers():
    answers = ["x"] * 7 + ["y"] * 2 + ["z"]
    shares = drawn(VqaHead(EPALM), {"id": "1", "answers": answers})
    assert shares == pytest.approx({"x": 1 / 1.9, "y": 0.6 / 1.9, "z": 0.3 / 1.9}, abs=0.04)


def test_weights_of_the_sample_come_first():
    sample = {"id": "1", "answers": ["x", "y"], "answer_weights": [1.0, 3.0]}
    for target in ("sampled", "by_score"):
        shares = drawn(VqaHead(VqaConfig(target=target)), sample)
        assert shares == pytest.approx({"x": 0.25, "y": 0.75}, abs=0.04)


def test_the_most_frequent_answer_needs_no_chance():
    head = VqaHead(VqaConfig(target="most_frequent"))
    assert drawn(head, SAMPLE) == {"cat": 1.0}
    assert VqaHead(VqaConfig()).target(SAMPLE) == "cat"


def test_a_single_answer_draws_nothing_so_that_its_text_can_be_kept():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    head = VqaHead(VqaConfig())
    assert head.target({"id": "1", "answers": ["x", "x"]}, rng) == "x"
    assert head.target({"id": "1", "target": "y", "references": ["z"]}, rng) == "y"
    assert head.target({"id": "1", "references": ["z"]}, rng) == "z"
    assert rng.bit_generator.state == before
    assert head.target({"id": "1"}, rng) is None


def test_only_the_answer_and_eos_are_learnt():
    tokenizer = tiny_tokenizer(WORDS)
    sample = {"id": "1", "prompt": "what is it ?", "answers": ["a cat"], "media": [{}]}
    encoded = VqaHead(VqaConfig()).encode(sample, tokenizer, with_target=True)
    tokens = tokenizer.convert_ids_to_tokens(encoded.input_ids)
    asked = ["question", ":", "what", "is", "it", "?", "answer", ":"]
    assert tokens == [*asked, "a", "cat", "</s>"]
    assert encoded.labels == [-100] * len(asked) + encoded.input_ids[len(asked) :]
    assert encoded.media_positions == [0]


def test_the_published_format_of_epalm():
    tokenizer, head = tiny_tokenizer(WORDS), VqaHead(EPALM)
    add_special_tokens(tokenizer, head.special_tokens)
    sample = {"id": "1", "prompt": "what is it?", "answers": ["cat"]}
    encoded = head.encode(sample, tokenizer, with_target=True)
    tokens = tokenizer.convert_ids_to_tokens(encoded.input_ids)
    assert tokens[-3:] == ["</a>", "cat", "</s>"]
    assert encoded.labels == encoded.input_ids  # the question is learnt as well
    asked = head.encode(sample, tokenizer, with_target=False)
    assert encoded.input_ids[: len(asked.input_ids)] == asked.input_ids
    assert tokenizer.decode(encoded.input_ids[-3:], skip_special_tokens=True).strip() == "cat"


def test_new_tokens_need_a_spare_row():
    tokenizer = tiny_tokenizer(WORDS)
    with pytest.raises(ModelError, match=r"need rows 14 and on .* which have 14"):
        add_special_tokens(tokenizer, ["</a>"], rows=14)
    add_special_tokens(tokenizer, ["</a>"], rows=15)
    add_special_tokens(tokenizer, ["</a>"], rows=15)
    assert len(tokenizer) == 15 and tokenizer.convert_tokens_to_ids("</a>") == 14


@pytest.mark.parametrize(
    ("text", "answer"), [(" a cat \nquestion: x", "a cat"), ("\n\n cat", "cat"), ("  ", "")]
)
def test_the_first_line_is_the_answer(text, answer):
    assert VqaHead(VqaConfig()).answer({"id": "1"}, text) == answer
