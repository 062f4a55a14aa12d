"""The vqa head: a question in a prompt template, and one of its answers behind it."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from mmadapt.contracts import Head, HeadConfig
from mmadapt.errors import DataError
from mmadapt.types import Sample

QUESTION = "{question}"
_SCORES = {1: 0.3, 2: 0.6, 3: 0.9}  # of an answer that so many people gave; more give 1


class VqaConfig(HeadConfig):
    """Options of the vqa head.

    The published eP-ALM format and loss are `prompt: "{question}?</a>"`, `separator: ""`,
    `special_tokens: ["</a>"]`, `target: by_score`, `learn_prompt: true`, `loss: sum_per_sample`,
    `loss_scale: 0.1`.

    Args:
        prompt: Template of the prompt; `{question}` is the sample's question, `<media>` marks
            where the media stand; without it they stand in front.
        separator: What stands between prompt and answer.
        special_tokens: Tokens of the template that the LM's tokenizer is to treat as one; those it
            lacks take spare rows of the LM's embeddings.
        target: Which of several answers is learnt: `sampled` draws one anew each time, as likely as
            it was given (or as `answer_weights` say); `by_score` draws by soft scores (0.3, 0.6,
            0.9 and 1 for an answer given once, twice, three times and more often);
            `most_frequent` always takes the first of the most frequent.
    """

    prompt: str = "question: {question} answer:"
    separator: str = " "
    special_tokens: list[str] = Field(default_factory=list)
    target: Literal["sampled", "by_score", "most_frequent"] = "sampled"

    @field_validator("prompt")
    @classmethod
    def _has_question(cls, value: str) -> str:
        if QUESTION not in value:
            raise ValueError("must hold {question}, where the sample's question goes")
        return value


class VqaHead(Head):
    """Teaches the LM to answer questions; what it says, up to the end of the line, is the answer.

    The question is the sample's `prompt`, its answers are `answers` (repeated where several people
    gave the same), else `target`, else `references`.

    Departure from eP-ALM: a sample without any answer is an error, not an empty target.

    Example:
        >>> head = VqaHead(VqaConfig())
        >>> sample = {"id": "1", "prompt": "what is it?", "answers": ["a cat", "cat", "cat"]}
        >>> head.prompt(sample), head.target(sample)
        ('question: what is it? answer:', 'cat')
    """

    Config = VqaConfig

    def __init__(self, config: VqaConfig) -> None:
        super().__init__(config)
        self.separator, self.special_tokens = config.separator, tuple(config.special_tokens)

    def prompt(self, sample: Sample) -> str:
        """The template with the sample's question.

        Raises:
            DataError: the sample has none.
        """
        question = (sample.get("prompt") or "").strip()
        if not question:
            reason = "has no question; give one as `question` of the record, --prompt or prompt="
            raise DataError("sample", sample["id"], reason)
        return str(self.config.prompt).replace(QUESTION, question)

    def target(self, sample: Sample, rng: np.random.Generator | None = None) -> str | None:
        """One of the answers, as the option `target` says; the likeliest where `rng` is None."""
        weights = self._weights(sample)
        if not weights:
            return None
        if rng is None or len(weights) == 1 or self.config.target == "most_frequent":
            return max(weights, key=lambda answer: weights[answer])
        share = np.array(list(weights.values())) / sum(weights.values())
        return list(weights)[rng.choice(len(weights), p=share)]

    def answer(self, sample: Sample, text: str) -> str:
        """The first line of the generated text."""
        return next(iter(text.strip().splitlines()), "").strip()

    def _weights(self, sample: Sample) -> dict[str, float]:
        """Each different answer with how likely it is to be drawn, not normalised."""
        target = sample.get("target")
        answers = sample.get("answers") or ([target] if target else sample.get("references") or [])
        given = sample.get("answer_weights")
        if given:
            return dict(zip(answers, given, strict=True))
        counts = Counter(answer for answer in answers if answer.strip())  # people may say nothing
        if self.config.target == "by_score":
            return {answer: _SCORES.get(count, 1.0) for answer, count in counts.items()}
        return {answer: float(count) for answer, count in counts.items()}
