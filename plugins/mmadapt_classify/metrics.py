"""Metrics of answers out of a closed set: accuracy and macro F1."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from mmadapt.contracts import Metric, MetricResult
from mmadapt.contracts.metric import Draw
from mmadapt.errors import DataError
from mmadapt.types import Sample


class NoOptions(BaseModel):
    """Macro F1 takes no options."""

    model_config = ConfigDict(extra="forbid")


class AccuracyConfig(BaseModel):
    """Options of accuracy.

    Args:
        by: Names in the sample's `meta`, such as `subject`: the accuracy of each of their values is
            given as well, as `accuracy_subject=social science`.
    """

    model_config = ConfigDict(extra="forbid")
    by: list[str] = []


class ClosedMetric(Metric):
    """Collects answers with the right ones; case and space around them do not count."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.answers: list[str] = []
        self.right: list[list[str]] = []
        self.meta: list[dict[str, Any]] = []

    def update(self, sample: Sample, answer: str) -> None:
        """Adds one answer.

        Raises:
            DataError: the sample does not tell what is right.
        """
        target = sample.get("target")
        given = sample.get("answers") or sample.get("references") or ([target] if target else [])
        if not given:
            raise DataError("metric", sample["id"], "has no answer to compare with")
        self.answers.append(_plain(answer))
        self.right.append([_plain(text) for text in given])
        self.meta.append(dict(sample.get("meta") or {}))

    def compute(self) -> MetricResult:
        """Scores all answers; see the class for what the values are."""
        if not self.answers:
            raise DataError("metric", None, "there is no answer to score")
        pairs = zip(self.answers, self.right, strict=True)
        hits = [float(answer in right) for answer, right in pairs]
        return MetricResult(self.values(hits), hits, self.settings(), self.draw())

    def settings(self) -> dict[str, Any]:
        """How answers were compared."""
        return self.described(normaliser="case folded, spaces between words made one")

    def draw(self) -> Draw | None:
        """Values of a draw of samples, where they are not the mean of the samples' own."""
        return None

    @abstractmethod
    def values(self, hits: list[float]) -> dict[str, float]:
        """The values by name, given which answers are right."""


class Accuracy(ClosedMetric):
    """Share of answers that are one of the right ones, 0 to 1."""

    Config = AccuracyConfig

    def values(self, hits: list[float]) -> dict[str, float]:
        """Returns the accuracy by `meta` values that are asked for, then `accuracy`."""
        values: dict[str, float] = {}
        for name in self.config.by:
            groups: dict[str, list[float]] = {}
            for meta, hit in zip(self.meta, hits, strict=True):
                groups.setdefault(str(meta.get(name)), []).append(hit)
            values |= {f"accuracy_{name}={key}": _mean(groups[key]) for key in sorted(groups)}
        return values | {"accuracy": _mean(hits)}  # last: the value that stands for the metric


class MacroF1(ClosedMetric):
    """F1 of every class that is right or answered anywhere, averaged, 0 to 1.

    Of several right answers the first counts, unless another one was given.
    """

    Config = NoOptions

    def values(self, hits: list[float]) -> dict[str, float]:
        """Returns `macro_f1`."""
        return {"macro_f1": _macro_f1(*self._codes())}

    def settings(self) -> dict[str, Any]:
        """How answers were compared and averaged."""
        classes = len({*self.answers, *self._right()})
        return super().settings() | {"classes": classes, "aggregation": "classes met"}

    def draw(self) -> Draw:
        """Macro F1 of the samples drawn, over the classes that they meet."""
        answered, right = self._codes()
        return lambda places: {"macro_f1": _macro_f1(answered[places], right[places])}

    def _right(self) -> list[str]:
        pairs = zip(self.answers, self.right, strict=True)
        return [answer if answer in given else given[0] for answer, given in pairs]

    def _codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Answers and right answers (n,) as numbers of classes."""
        right = self._right()
        codes = {name: code for code, name in enumerate(sorted({*right, *self.answers}))}
        return np.array([codes[a] for a in self.answers]), np.array([codes[r] for r in right])


def _macro_f1(answered: np.ndarray, right: np.ndarray) -> float:
    """Mean of 2 * hits / (answered + right) over the classes that occur in either."""
    size = int(max(answered.max(), right.max())) + 1
    hits = np.bincount(answered[answered == right], minlength=size)
    met = np.bincount(answered, minlength=size) + np.bincount(right, minlength=size)
    return float((2 * hits[met > 0] / met[met > 0]).mean())


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
