"""Metrics of answers out of a closed set: accuracy and macro F1."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from pydantic import BaseModel, ConfigDict

from mmadapt.contracts import Metric, MetricResult
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
        return MetricResult(self.values(hits), hits)

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
        pairs = zip(self.answers, self.right, strict=True)
        right = [answer if answer in given else given[0] for answer, given in pairs]
        classes = sorted({*right, *self.answers})
        return {"macro_f1": _mean([_f1(name, self.answers, right) for name in classes])}


def _f1(name: str, answers: list[str], right: list[str]) -> float:
    """2 * hits / (answered + right) of one class, which occurs in either."""
    hits = sum(a == r == name for a, r in zip(answers, right, strict=True))
    return 2 * hits / (answers.count(name) + right.count(name))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
