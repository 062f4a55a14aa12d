"""The head `example`: a prompt, and one of the references behind it."""

from __future__ import annotations

import numpy as np

from mmadapt.contracts import Head, HeadConfig
from mmadapt.types import Sample


class ExampleConfig(HeadConfig):
    """Options of `example`, as a recipe writes them; those of `HeadConfig` come with them.

    Args:
        prompt: Text that the answer continues, unless a sample brings its own. `<media>` marks
            where the media stand; without it they stand in front.
    """

    prompt: str = "this shows"


class ExampleHead(Head):
    """Teaches the LM to continue a prompt; the first line of what it says is the answer.

    Args:
        config: options, an instance of `ExampleConfig`.
    """

    Config = ExampleConfig
    config: ExampleConfig

    def prompt(self, sample: Sample) -> str:
        """The text given to the LM."""
        own = sample.get("prompt")
        return self.config.prompt if own is None else own

    def target(self, sample: Sample, rng: np.random.Generator | None = None) -> str | None:
        """The text that the LM learns to say: with a generator, any of the references."""
        choices = [text for text in sample.get("references") or () if text.strip()]
        if rng is not None and choices:
            return choices[int(rng.integers(len(choices)))]
        return sample.get("target") or next(iter(choices), None)

    def answer(self, sample: Sample, text: str) -> str:
        """What metrics read of the generated text."""
        return next(iter(text.strip().splitlines()), "").strip()
