"""The metric `example`: the words that answer and reference share."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, ConfigDict

from mmadapt.contracts import Metric, MetricResult
from mmadapt.errors import DataError
from mmadapt.types import Sample


class ExampleConfig(BaseModel):
    """Options of `example`, as a recipe writes them.

    Args:
        lower: Compare words in lower case.
    """

    model_config = ConfigDict(extra="forbid")
    lower: bool = True


class ExampleMetric(Metric):
    """F1 of the words of an answer against its best reference, 0 to 1, averaged over samples.

    Args:
        config: options, an instance of `ExampleConfig`.
    """

    Config = ExampleConfig
    config: ExampleConfig

    def __init__(self, config: ExampleConfig) -> None:
        super().__init__(config)
        self.scores: list[float] = []

    def update(self, sample: Sample, answer: str) -> None:
        """Adds one answer.

        Raises:
            DataError: the sample has nothing to compare with.
        """
        references = sample.get("references") or sample.get("answers") or []
        if not references:
            raise DataError("metric", sample["id"], "has no reference to score against")
        words = self._words(answer)
        self.scores.append(max(f1(words, self._words(text)) for text in references))

    def compute(self) -> MetricResult:
        """Gives `example`, and the F1 of every sample in the order of updates."""
        if not self.scores:
            raise DataError("metric", None, "there is no answer to score")
        mean = sum(self.scores) / len(self.scores)
        settings = self.described(words="split at spaces")
        return MetricResult({"example": mean}, list(self.scores), settings)

    def _words(self, text: str) -> Counter[str]:
        return Counter((text.lower() if self.config.lower else text).split())


def f1(a: Counter[str], b: Counter[str]) -> float:
    """Twice the shared words over all words."""
    return 2 * (a & b).total() / max(1, a.total() + b.total())
