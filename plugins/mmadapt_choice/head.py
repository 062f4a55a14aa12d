"""The choice head: a question with lettered options, answered by a letter."""

from __future__ import annotations

import re
import zlib
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np

from mmadapt.contracts import EncodedText, Head
from mmadapt.errors import DataError
from mmadapt.text import MEDIA_MARKER, continuation_ids
from mmadapt.types import IGNORE_INDEX, Sample
from mmadapt_choice.config import ChoiceConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ChoiceHead(Head):
    """Teaches the LM to name the right option; the answer is that option's text.

    The question is the sample's `prompt`, its options are `choices`, the right one is `target`,
    else the first of `answers`, else of `references`. The context is `context`, `hint` or nothing
    of its `meta`.

    Example:
        >>> head = ChoiceHead(ChoiceConfig())
        >>> sample = {"id": "1", "prompt": "Which flies?", "choices": ["cat", "owl"]}
        >>> print(head.prompt(sample))
        Question: Which flies?
        Context: N/A
        Options: (A) cat (B) owl
        Response:
        >>> head.answer(sample, " B.")
        'owl'
    """

    Config = ChoiceConfig
    takes_choices = True

    def __init__(self, config: ChoiceConfig) -> None:
        super().__init__(config)
        self.separator, self.score = config.separator, config.score

    def prompt(self, sample: Sample) -> str:
        """The template with question, context and options; double spaces are halved once.

        Raises:
            DataError: the sample has no question or no options.
        """
        question = (sample.get("prompt") or "").strip()
        if not question:
            reason = "has no question; give one as `question` of the record, --prompt or prompt="
            raise DataError("sample", sample["id"], reason)
        meta = sample.get("meta") or {}
        context = str(meta.get("context") or meta.get("hint") or "").strip()
        values = {
            "question": question,
            "context": context or self.config.no_context,
            "options": self.config.join.join(self._filled(self.config.option, sample)),
        }
        return _fill(self.config.prompt, values).replace("  ", " ").strip()

    def target(self, sample: Sample, rng: np.random.Generator | None = None) -> str | None:
        """The target template with the right option.

        Raises:
            DataError: the right answer is not among the options.
        """
        answers = sample.get("answers") or sample.get("references") or []
        right = sample.get("target") or next(iter(answers), None)
        if right is None:
            return None
        options = self._options(sample)
        if right not in options:
            reason = f"has the answer '{right}', which is not among its choices"
            raise DataError("sample", sample["id"], reason)
        return self._filled(self.config.target, sample)[options.index(right)]

    def candidates(self, sample: Sample) -> list[str] | None:
        """The target of every option, where the answer is found by likelihood."""
        if self.config.answer == "letter":
            return None
        return self._filled(self.config.target, sample)

    def answer(self, sample: Sample, text: str) -> str:
        """The text of the option that was chosen; empty where none was."""
        options = self._options(sample)
        if self.config.answer == "likelihood":
            return options[self._filled(self.config.target, sample).index(text)]
        found = re.search(self.config.pattern, text)
        letter = (found[1] if found.re.groups else found[0]) if found else None
        if letter in list(ascii_uppercase[: len(options)]):
            return options[ascii_uppercase.index(str(letter))]
        if not self.config.guess:
            return ""
        seed = zlib.crc32(sample["id"].encode())
        return options[int(np.random.default_rng(seed).integers(len(options)))]

    def encode(
        self,
        sample: Sample,
        tokenizer: PreTrainedTokenizerBase,
        *,
        with_target: bool,
        rng: np.random.Generator | None = None,
    ) -> EncodedText:
        """As every head's; a prompt that is to be answered by a letter ends with `lead`."""
        encoded = super().encode(sample, tokenizer, with_target=with_target, rng=rng)
        if with_target or self.config.answer == "likelihood" or not self.config.lead:
            return encoded
        last = self.prompt(sample).rpartition(MEDIA_MARKER)[2]
        lead = continuation_ids(tokenizer, last, self.config.lead, self.separator)
        ids, labels = encoded.input_ids + lead, encoded.labels + [IGNORE_INDEX] * len(lead)
        return EncodedText(ids, labels, encoded.media_positions)

    def _options(self, sample: Sample) -> list[str]:
        options = list(sample.get("choices") or ())
        if not options:
            reason = "has no choices; give `choices` of the record, --choice or choices="
            raise DataError("sample", sample["id"], reason)
        if len(options) > len(ascii_uppercase):
            reason = f"has {len(options)} choices, more than there are letters; use classify"
            raise DataError("sample", sample["id"], reason)
        return options

    def _filled(self, template: str, sample: Sample) -> list[str]:
        """The template for each option."""
        pairs = zip(ascii_uppercase, self._options(sample), strict=False)
        return [_fill(template, {"letter": letter, "text": text}) for letter, text in pairs]


def _fill(template: str, values: dict[str, str]) -> str:
    """The template with `{name}` replaced; braces in the values mean nothing."""
    pattern = "|".join(re.escape(f"{{{name}}}") for name in values)
    return re.sub(pattern, lambda match: values[match[0][1:-1]], template)
