"""VQA accuracy: how far an answer agrees with what ten people said."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from mmadapt.contracts import Metric, MetricResult
from mmadapt.errors import DataError
from mmadapt.types import Sample
from mmadapt_vqa import normalise as rules
from mmadapt_vqa.normalise import normalise, plain

_NEEDED = 4  # with fewer answers not even a perfect one reaches 1


class VqaAccuracyConfig(BaseModel):
    """VQA accuracy takes no options: the official evaluation fixes everything."""

    model_config = ConfigDict(extra="forbid")


class VqaAccuracy(Metric):
    """The official VQA accuracy (Antol et al. 2015, section 4; VQA v2 evaluation), 0 to 1.

    An answer scores min(n / 3, 1) where n people gave it, averaged over leaving out each person in
    turn. Answers are compared by `normalise`, except where all people gave exactly the same. Papers
    print 100 times the value. `vqa_accuracy_TYPE` is the mean over the samples whose
    `meta["answer_type"]` is that type (`yes/no`, `number`, `other` in VQAv2).
    """

    Config = VqaAccuracyConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scores: list[float] = []
        self.types: list[str | None] = []
        self.people: list[int] = []

    def update(self, sample: Sample, answer: str) -> None:
        """Adds one answer.

        Raises:
            DataError: the sample has no answers of several people.
        """
        people = list(sample.get("answers") or ())
        if sample.get("answer_weights"):
            reason = "has weighted answers; vqa_accuracy needs what each person said"
            raise DataError("metric", sample["id"], reason)
        if len(people) < _NEEDED:
            raise DataError(
                "metric",
                sample["id"],
                f"has {len(people)} answers; vqa_accuracy compares with those of several people "
                f"(10 in VQAv2, at least {_NEEDED}); use exact_match or accuracy instead",
            )
        self.scores.append(agreement(answer, people))
        self.people.append(len(people))
        self.types.append((sample.get("meta") or {}).get("answer_type"))

    def compute(self) -> MetricResult:
        """Returns `vqa_accuracy`, and its mean for each answer type that samples name."""
        if not self.scores:
            raise DataError("metric", None, "there is no answer to score")
        values: dict[str, float] = {}
        for kind in sorted({kind for kind in self.types if kind is not None}):
            pairs = zip(self.scores, self.types, strict=True)
            values[f"vqa_accuracy_{kind}"] = _mean([s for s, own in pairs if own == kind])
        values["vqa_accuracy"] = _mean(self.scores)  # last: the value that stands for the metric
        settings = self.described(
            rule="official VQA evaluation: mean over people left out of min(n / 3, 1)",
            normaliser=f"vqa: {rules.NAME}, version {rules.VERSION}; none where all people agree",
            people=_span(self.people),
        )
        return MetricResult(values, list(self.scores), settings)


def agreement(answer: str, people: list[str]) -> float:
    """Mean over people of min(n / 3, 1), where n of the others gave this answer.

    Example:
        >>> agreement("Cat.", ["cat"] * 3 + ["dog"] * 7)
        0.9
    """
    said = [plain(text) for text in people]
    given = plain(answer)
    if len(set(said)) > 1:
        said, given = [normalise(text) for text in said], normalise(given)
    matching = [text == given for text in said]
    total = sum(matching)
    return _mean([min(1.0, (total - own) / 3) for own in matching])


def _span(counts: list[int]) -> str:
    """`10`, or `5 to 10` where samples differ."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
