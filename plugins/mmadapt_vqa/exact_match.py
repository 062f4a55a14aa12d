"""Exact match: whether an answer is one of the right ones, once both are normalised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from mmadapt.contracts import Metric, MetricResult
from mmadapt.errors import DataError
from mmadapt.types import Sample
from mmadapt_caption import tokens
from mmadapt_caption.references import references_of
from mmadapt_vqa import normalise

Normaliser = Literal["caption", "vqa", "none"]


class ExactMatchConfig(BaseModel):
    """Options of exact match.

    Args:
        normaliser: What is done to answers and references before they are compared. `caption`: the
            tokens of the caption metrics, so that case and punctuation do not count; `vqa`: the VQA
            evaluation's rules for marks, articles, number words and contractions, as eP-ALM scores
            GQA, MSVD-QA and MSRVTT-QA; `none`: only spaces around the text go, as in GQA's own
            evaluation.
        by: Names in the sample's `meta`, such as GQA's `structural`: the share of each of their
            values is given as well, as `exact_match_structural=verify`.
    """

    model_config = ConfigDict(extra="forbid")
    normaliser: Normaliser = "caption"
    by: list[str] = []


class ExactMatch(Metric):
    """Share of answers equal to one of the references, 0 to 1.

    Example:
        >>> metric = ExactMatch(ExactMatchConfig(normaliser="vqa"))
        >>> metric.update({"id": "1", "answers": ["two dogs"]}, "The 2 dogs.")
        >>> metric.compute().values
        {'exact_match': 1.0}
    """

    Config = ExactMatchConfig
    config: ExactMatchConfig

    def __init__(self, config: ExactMatchConfig) -> None:
        super().__init__(config)
        self.hits: list[float] = []
        self.meta: list[dict[str, Any]] = []

    def update(self, sample: Sample, answer: str) -> None:
        """Adds one answer.

        Raises:
            DataError: the sample has no reference, or none that holds a word.
        """
        reduce, _ = NORMALISERS[self.config.normaliser]
        references = [reduce(text) for text in references_of(sample)]
        if self.config.normaliser == "caption" and not any(references):
            raise DataError("metric", sample["id"], "has references without a single word")
        self.hits.append(float(reduce(answer) in references))
        self.meta.append(dict(sample.get("meta") or {}))

    def compute(self) -> MetricResult:
        """Returns `exact_match` by the `meta` values that are asked for, then `exact_match`."""
        if not self.hits:
            raise DataError("metric", None, "there is no answer to score")
        values: dict[str, float] = {}
        for name in self.config.by:
            groups: dict[str, list[float]] = {}
            for meta, hit in zip(self.meta, self.hits, strict=True):
                groups.setdefault(str(meta.get(name)), []).append(hit)
            values |= {f"exact_match_{name}={key}": _mean(groups[key]) for key in sorted(groups)}
        values["exact_match"] = _mean(self.hits)  # last: the value that stands for the metric
        _, said = NORMALISERS[self.config.normaliser]
        return MetricResult(values, list(self.hits), self.described(normaliser=said))


def _caption(text: str) -> str:
    return " ".join(tokens.tokenize(text))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


NORMALISERS: dict[Normaliser, tuple[Callable[[str], str], str]] = {
    "caption": (_caption, f"caption: tokens, {tokens.NAME}, version {tokens.VERSION}"),
    "vqa": (normalise.normalise, f"vqa: {normalise.NAME}, version {normalise.VERSION}"),
    "none": (str.strip, "none: spaces around the text dropped"),
}
