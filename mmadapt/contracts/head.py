"""Head: how samples become prompts and labels, and how generated text becomes answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel

from mmadapt.text import EncodedText, encode_text
from mmadapt.types import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Head:
    """Base of all heads; small and picklable, because it runs in loader workers.

    A head says what the text of a sample is (`prompt`, `target`); the base class tokenises it.
    """

    Config: ClassVar[type[BaseModel]]

    def __init__(self, config: Any) -> None:
        self.config = config

    def prompt(self, sample: Sample) -> str:
        """The text given to the LM; `<media>` marks where the media files stand, in order."""
        return sample.get("prompt") or ""

    def target(self, sample: Sample, rng: np.random.Generator | None = None) -> str | None:
        """The text the LM learns to say, or None when the sample has none."""
        return sample.get("target")

    def answer(self, sample: Sample, text: str) -> str:
        """Turns generated text into the answer that metrics read."""
        return text.strip()

    def candidates(self, sample: Sample) -> list[str] | None:
        """Answers to score by likelihood instead of generating; None to generate."""
        return None

    def encode(
        self,
        sample: Sample,
        tokenizer: PreTrainedTokenizerBase,
        *,
        with_target: bool,
        rng: np.random.Generator | None = None,
    ) -> EncodedText:
        """Tokenises a sample; only target tokens and the closing EOS carry labels.

        Raises:
            DataError: the sample has no target although one is wanted.
        """
        target = self.target(sample, rng) if with_target else None
        num_media = len(sample.get("media") or ())
        return encode_text(
            self.prompt(sample), target, num_media, tokenizer, sample["id"], with_target
        )
