"""The classify head: one of given classes behind a prompt, chosen by its likelihood."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from mmadapt.contracts import Head, HeadConfig
from mmadapt.contracts.head import Score
from mmadapt.errors import DataError, RecipeError
from mmadapt.types import Sample

QUESTION = "{question}"


class ClassifyConfig(HeadConfig):
    """Options of the classify head.

    Args:
        classes: The answers to choose among; default: the `choices` of each sample.
        prompt: Text before the class, unless a sample brings its own; with `{question}` in it, a
            template that the sample's own goes into. `<media>` marks where the media stand;
            without it they stand in front.
        separator: What stands between prompt and class.
        score: `sum` of the log-probabilities of a class's tokens, EOS included, or their `mean`,
            which does not punish long class names.
    """

    classes: Annotated[list[str], Field(min_length=2)] | None = None
    prompt: str = "this is"
    separator: str = " "
    score: Score = "sum"

    @field_validator("classes")
    @classmethod
    def _differ(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len({name.strip() for name in value} - {""}) < len(value):
            raise ValueError("must hold different texts, none of them empty")
        return value


class ClassifyHead(Head):
    """Teaches the LM to name the class; answers by scoring every class, never by generating.

    The right class is the sample's `target`, else the first of its `answers`, else of its
    `references`.

    Example:
        >>> head = ClassifyHead(ClassifyConfig(classes=["cat", "dog"]))
        >>> sample = {"id": "1", "answers": ["dog"]}
        >>> head.prompt(sample), head.target(sample), head.candidates(sample)
        ('this is', 'dog', ['cat', 'dog'])
    """

    Config = ClassifyConfig
    takes_choices = True

    def __init__(self, config: ClassifyConfig) -> None:
        super().__init__(config)
        self.separator, self.score = config.separator, config.score

    def prompt(self, sample: Sample) -> str:
        """The sample's own prompt, or the recipe's.

        Raises:
            DataError: the recipe's asks for a question and the sample has none.
        """
        own = sample.get("prompt")
        template = str(self.config.prompt)
        if QUESTION not in template:
            return template if own is None else own
        if not (own or "").strip():
            reason = "has no question; give one as `question` of the record, --prompt or prompt="
            raise DataError("sample", sample["id"], reason)
        return template.replace(QUESTION, str(own).strip())

    def target(self, sample: Sample, rng: np.random.Generator | None = None) -> str | None:
        """The right class.

        Raises:
            DataError: it is not among the classes.
        """
        answers = sample.get("answers") or sample.get("references") or []
        target = sample.get("target") or next(iter(answers), None)
        if target is not None and target not in self.candidates(sample):
            raise DataError(
                "sample", sample["id"], f"has the class '{target}', which is not among the classes"
            )
        return target

    def candidates(self, sample: Sample) -> list[str]:
        """The classes.

        Raises:
            RecipeError: neither the recipe nor the sample names any.
        """
        found = self.config.classes or sample.get("choices")
        if not found:
            raise RecipeError(
                "head.classes is missing; list the classes, such as "
                "`head: {use: classify, classes: [cat, dog]}`, or give every sample its `choices` "
                "(`mmadapt generate`: --choice); "
                f"sample {sample['id']} has none"
            )
        return list(found)
