"""Head: how samples become prompts and labels, and how generated text becomes answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mmadapt.text import EncodedText, encode_text
from mmadapt.types import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Loss = Literal["mean_per_token", "sum_per_sample"]
Score = Literal["sum", "mean"]


class HeadConfig(BaseModel):
    """Options that heads share: what is learnt of a text, and how its loss is counted.

    Attributes:
        loss: `mean_per_token` divides the summed cross-entropy of a step by its labelled tokens,
            `sum_per_sample` by its samples, so that long targets weigh more (eP-ALM). Both count
            over all the batches that one optimiser step accumulates.
        loss_scale: Factor of the loss.
        learn_prompt: The prompt's own tokens are learnt too (eP-ALM); media never are.
    """

    model_config = ConfigDict(extra="forbid")
    loss: Loss = "mean_per_token"
    loss_scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    learn_prompt: bool = False


class Head:
    """Base of all heads; small and picklable, because it runs in loader workers.

    A head says what the text of a sample is (`prompt`, `target`); the base class tokenises it.

    Attributes:
        loss: what the summed loss is divided by, see `HeadConfig`.
        loss_scale: factor of the loss.
        learn_prompt: label the prompt as well.
        separator: what stands between prompt and target.
        special_tokens: tokens that the tokenizer is given where it lacks them.
        score: how the log-probabilities of a candidate's tokens become its score.
        takes_choices: whether it reads a sample's `choices`.
        takes_messages: whether it reads a sample's `messages`.
    """

    Config: ClassVar[type[BaseModel]]
    loss: Loss = "mean_per_token"
    loss_scale: float = 1.0
    learn_prompt: bool = False
    separator: str = " "
    special_tokens: tuple[str, ...] = ()
    score: Score = "sum"
    takes_choices: bool = False
    takes_messages: bool = False

    def __init__(self, config: Any) -> None:
        self.config = config
        if isinstance(config, HeadConfig):
            self.loss, self.loss_scale = config.loss, config.loss_scale
            self.learn_prompt = config.learn_prompt

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

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Called once when a model is composed; raises `ModelError` where the tokenizer lacks what
        the head needs."""

    def stop_ids(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """Tokens, beside the LM's own EOS, at which generation ends."""
        return []

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
            self.prompt(sample),
            target,
            num_media,
            tokenizer,
            sample["id"],
            with_target,
            separator=self.separator,
            learn_prompt=self.learn_prompt,
        )
