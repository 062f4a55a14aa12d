"""The caption head: a fixed prompt, and the caption behind it."""

from __future__ import annotations

import numpy as np

from mmadapt.contracts import Head, HeadConfig
from mmadapt.types import Sample


class CaptionConfig(HeadConfig):
    """Options of the caption head.

    Args:
        prompt: Text that the caption continues, unless a sample brings its own. `<media>` marks
            where the media stand; without it they stand in front.
    """

    prompt: str = "a video of"


class CaptionHead(Head):
    """Teaches the LM to continue a prompt with the caption; the generated text is the answer.

    Example:
        >>> head = CaptionHead(CaptionConfig(prompt="a picture of"))
        >>> head.prompt({"id": "1"}), head.target({"id": "1", "target": "a red ball"})
        ('a picture of', 'a red ball')
    """

    Config = CaptionConfig

    def prompt(self, sample: Sample) -> str:
        """The sample's own prompt, or the recipe's."""
        own = sample.get("prompt")
        return self.config.prompt if own is None else own

    def target(self, sample: Sample, rng: np.random.Generator | None = None) -> str | None:
        """The caption; the first reference where a sample names none as its target."""
        return sample.get("target") or next(iter(sample.get("references") or ()), None)
