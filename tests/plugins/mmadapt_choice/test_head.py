import pytest
from pydantic import ValidationError

from mmadapt.errors import DataError
from mmadapt_choice.config import ChoiceConfig
from mmadapt_choice.head import ChoiceHead
from tests.tiny import tiny_tokenizer

SAMPLE = {
    "id": "1",
    "prompt": "Which  flies?",
    "choices": ["a cat", "an owl", "a {letter}"],
    "answers": ["an owl"],
    "meta": {"hint": "It has wings."},
}
HEAD = ChoiceHead(ChoiceConfig())


def without(*keys, **changes):
    return {k: v for k, v in SAMPLE.items() if k not in keys} | changes


def test_the_published_prompt_of_scienceqa():
    assert HEAD.prompt(SAMPLE) == (
        "Question: Which flies?\n"
        "Context: It has wings.\n"
        "Options: (A) a cat (B) an owl (C) a {letter}\n"
        "Response:"
    )
    assert "\nContext: N/A\n" in HEAD.prompt(without("meta"))
    both = without(meta={"context": "It has wings. An owl.", "hint": "It has wings."})
    assert "\nContext: It has wings. An owl.\n" in HEAD.prompt(both)
    assert HEAD.target(SAMPLE) == "The answer is B."


def test_another_order_and_another_style():
    config = ChoiceConfig(
        prompt="{context} {question} {options} =",
        option="{letter}) {text}",
        join=" | ",
        no_context="",
        target="{text}",
    )
    head = ChoiceHead(config)
    sample = without("meta")
    assert head.prompt(sample) == "Which flies? A) a cat | B) an owl | C) a {letter} ="
    assert head.target(sample) == "an owl"


@pytest.mark.parametrize("field", ["answers", "target", "references"])
def test_the_right_option_is_found_by_its_text(field):
    given = "an owl" if field == "target" else ["an owl"]
    assert HEAD.target(without("answers", **{field: given})) == "The answer is B."


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (without("prompt"), "has no question"),
        (without("choices"), "has no choices"),
        (without(choices=[str(n) for n in range(27)]), "has 27 choices, more than there are"),
    ],
)
def test_a_sample_that_cannot_be_asked_is_an_error(sample, reason):
    with pytest.raises(DataError, match=f"sample:1: {reason}"):
        HEAD.prompt(sample)


def test_an_answer_beyond_the_options_is_an_error():
    with pytest.raises(DataError, match="has the answer 'a dog', which is not among its choices"):
        HEAD.target(without(answers=["a dog"]))
    assert HEAD.target(without("answers")) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" B.", "an owl"),
        ("(C) because A", "a {letter}"),
        ("D.", ""),  # beyond the options
        ("no idea", ""),
        ("", ""),
    ],
)
def test_the_first_capital_letter_is_the_answer(text, answer):
    assert HEAD.answer(SAMPLE, text) == answer


def test_a_pattern_with_a_group_skips_what_stands_in_front():
    head = ChoiceHead(ChoiceConfig(lead="", pattern=r"The answer is \(?([A-Z])"))
    assert head.answer(SAMPLE, "Indeed. The answer is (A).") == "a cat"
    assert head.answer(SAMPLE, "It is B.") == ""


def test_guessing_picks_an_option_that_depends_on_the_sample_alone():
    head = ChoiceHead(ChoiceConfig(guess=True))
    guesses = [head.answer(without(id=str(n)), "no idea") for n in range(60)]
    assert set(guesses) == set(SAMPLE["choices"])
    assert guesses == [head.answer(without(id=str(n)), "Z") for n in range(60)]
    assert head.answer(SAMPLE, "B") == "an owl"


def test_by_likelihood_the_targets_of_all_options_compete():
    letters = ChoiceHead(ChoiceConfig(answer="likelihood", score="mean"))
    assert letters.candidates(SAMPLE) == [f"The answer is {letter}." for letter in "ABC"]
    assert letters.answer(SAMPLE, "The answer is C.") == "a {letter}" and letters.score == "mean"
    texts = ChoiceHead(ChoiceConfig(answer="likelihood", target="{text}"))
    assert texts.candidates(SAMPLE) == SAMPLE["choices"]
    assert texts.answer(SAMPLE, "an owl") == "an owl"
    assert HEAD.candidates(SAMPLE) is None


def test_the_lead_is_given_before_the_letter():
    words = ["Question", "Context", "Options", "Response", ":", "The", "answer", "is", "B", "."]
    tokenizer = tiny_tokenizer(words)

    def tokens(head, with_target):
        encoded = head.encode(SAMPLE, tokenizer, with_target=with_target)
        assert len(encoded.labels) == len(encoded.input_ids)
        return tokenizer.convert_ids_to_tokens(encoded.input_ids), encoded

    told, encoded = tokens(HEAD, True)
    asked, question = tokens(HEAD, False)
    assert told[-6:] == ["The", "answer", "is", "B", ".", "</s>"]
    assert asked == told[:-3] and set(question.labels) == {-100}
    assert encoded.labels[-6:] == encoded.input_ids[-6:] and set(encoded.labels[:-6]) == {-100}
    for config in (ChoiceConfig(lead=""), ChoiceConfig(answer="likelihood")):
        assert tokens(ChoiceHead(config), False)[0] == told[:-6]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"prompt": "{question}"}, r"must hold \{question\} and \{options\}"),
        ({"option": "x"}, r"must hold \{letter\} or \{text\}"),
        ({"target": "x"}, r"must hold \{letter\} or \{text\}"),
        ({"option": "{text}"}, r"names a \{letter\} that `option` does not show"),
        ({"pattern": "("}, "is no regular expression"),
    ],
)
def test_templates_are_checked(options, reason):
    with pytest.raises(ValidationError, match=reason):
        ChoiceConfig(**options)
