"""From answers to scores, and what the scores rest on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmadapt.contracts import Metric, MetricResult
from mmadapt.data.origin import located
from mmadapt.evaluate.statistics import interval, value_intervals
from mmadapt.types import Sample

Metrics = Sequence[str] | Mapping[str, Callable[[], Metric]]


def metric_factories(metrics: Metrics) -> dict[str, Callable[[], Metric]]:
    """Turns names into functions that build the registered metric with its default options."""
    if isinstance(metrics, Mapping):
        return dict(metrics)
    from mmadapt.registry import get_registry

    classes = {name: get_registry().get("metric", name).load() for name in metrics}
    return {name: _builder(cls) for name, cls in classes.items()}


def scored(
    factories: Mapping[str, Callable[[], Metric]],
    samples: Sequence[Sample],
    answers: Sequence[str],
) -> tuple[dict[str, float], list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Scores answers.

    Returns:
        Values by name; per sample `id`, `answer`, `references`, `scores` by metric; and by metric
        its own settings, `samples`, `interval` (of every value with a 95 % bootstrap interval) and
        `per_sample_mean`.
    """
    predictions: list[dict[str, Any]] = [
        {"id": sample["id"], "answer": answer, "references": _references(sample), "scores": {}}
        for sample, answer in zip(samples, answers, strict=True)
    ]
    values: dict[str, float] = {}
    settings: dict[str, dict[str, Any]] = {}
    for name, build in factories.items():
        metric = build()
        result = _computed(metric, samples, answers)
        values.update(result.values)
        used = {"version": metric.version, **result.settings, "samples": len(samples)}
        settings[name] = used | _intervals(result)
        for prediction, score in zip(predictions, result.per_sample, strict=True):
            prediction["scores"][name] = score
    return values, predictions, settings


def _computed(metric: Metric, samples: Sequence[Sample], answers: Sequence[str]) -> MetricResult:
    for sample, answer in zip(samples, answers, strict=True):
        with located(sample):
            metric.update(sample, answer)
    return metric.compute()


def _intervals(result: MetricResult) -> dict[str, Any]:
    mean = interval([result.per_sample])
    found = value_intervals(result, mean)
    return {
        "interval": {name: [value.low, value.high] for name, value in found.items()},
        "per_sample_mean": {"mean": mean.mean, "low": mean.low, "high": mean.high},
    }


def _references(sample: Sample) -> list[str]:
    given = sample.get("references") or sample.get("answers") or [sample.get("target") or ""]
    return [text for text in given if text]


def _builder(cls: Any) -> Callable[[], Metric]:
    return lambda: cls(cls.Config())
