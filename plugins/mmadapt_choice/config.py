"""Options of the choice head."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from mmadapt.contracts import HeadConfig
from mmadapt.contracts.head import Score


class ChoiceConfig(HeadConfig):
    """Options of the choice head; the defaults are ScienceQA's format QCM-A (LaVIN, ADEM-VL).

    Args:
        prompt: Template with `{question}`, `{context}` and `{options}`; `<media>` marks where the
            media stand, without it they stand in front.
        option: How one option is written, with `{letter}` and `{text}`.
        join: What stands between two options.
        no_context: The context of a sample without any.
        target: What is learnt, with `{letter}` or `{text}` of the right option.
        separator: What stands between prompt and target; the published code has none (`""`).
        answer: `letter`: the LM goes on after `lead` and `pattern` finds the letter in what it
            says; `likelihood`: the likeliest `target` of all options is taken.
        lead: Words of the target that are given to the LM, so that the letter comes next.
        pattern: Regular expression of the letter, the first match counts; its group, if it has one.
        score: How tokens' log-probabilities are counted with `answer: likelihood`.
        guess: Where no option's letter is found, the answer is empty and so wrong (false, as in
            ADEM-VL's evaluation), or an option at random (true, as in ScienceQA's own), drawn from
            the sample's id.
    """

    prompt: str = "Question: {question}\nContext: {context}\nOptions: {options}\nResponse:"
    option: str = "({letter}) {text}"
    join: str = " "
    no_context: str = "N/A"
    target: str = "The answer is {letter}."
    separator: str = " "
    answer: Literal["letter", "likelihood"] = "letter"
    lead: str = "The answer is"
    pattern: str = Field(default="[A-Z]", min_length=1)
    score: Score = "sum"
    guess: bool = False

    @field_validator("prompt")
    @classmethod
    def _shows_all(cls, value: str) -> str:
        if "{question}" not in value or "{options}" not in value:
            raise ValueError("must hold {question} and {options}")
        return value

    @field_validator("option", "target")
    @classmethod
    def _tells_options_apart(cls, value: str) -> str:
        if "{letter}" not in value and "{text}" not in value:
            raise ValueError("must hold {letter} or {text}")
        return value

    @model_validator(mode="after")
    def _letters_are_shown(self) -> ChoiceConfig:
        if "{letter}" in self.target and "{letter}" not in self.option:
            raise ValueError("`target` names a {letter} that `option` does not show")
        return self

    @field_validator("pattern")
    @classmethod
    def _is_regular(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return value
