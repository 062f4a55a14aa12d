"""Answering every sample of a source and scoring the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from mmadapt.contracts import Metric, Source
from mmadapt.data.cache import MemoryCache
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.items import Failed
from mmadapt.data.length import LengthLimit
from mmadapt.data.loader import batches, to_device
from mmadapt.data.origin import located
from mmadapt.data.quarantine import Watch
from mmadapt.data.views import SwappedMedia, seeded_subset
from mmadapt.errors import DataError
from mmadapt.evaluate.statistics import interval
from mmadapt.generation import answer_batch

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel

Media = Literal["as_is", "removed", "swapped", "blank"]
Metrics = Sequence[str] | Mapping[str, Callable[[], Metric]]


@dataclass(frozen=True)
class EvaluationResult:
    """Scores and what they were computed from.

    Args:
        metrics: values by name.
        predictions: per sample `id`, `answer`, `references`, `scores` by metric.
        settings: how it was computed: metrics (each with the mean of its per-sample scores and the
            95 % bootstrap interval of that), generation, a prompt, number of samples, media.
        failed: `id` and `reason` of the samples that could not be read; they are not scored.
    """

    metrics: dict[str, float]
    predictions: list[dict[str, Any]]
    settings: dict[str, Any]
    failed: list[dict[str, str]] = field(default_factory=list)


def evaluate(
    model: MultimodalModel,
    source: Source,
    metrics: Metrics,
    *,
    batch_size: int = 32,
    generate: Mapping[str, Any] | None = None,
    media: Media = "as_is",
    limit: int | None = None,
    seed: int = 0,
    cache: MemoryCache | None = None,
    watch: Watch | None = None,
    length: LengthLimit | None = None,
    description: str | None = "evaluate",
) -> EvaluationResult:
    """Answers every sample of a source and scores the answers.

    The batch size changes the speed only; where answers are sampled, each is drawn alone from a
    seed of its own. A head's candidates are scored by likelihood, everything else is generated.

    Args:
        model: a composed model with its head and tokenizer.
        source: the samples.
        metrics: registered names, or functions that build a metric, by name.
        batch_size: samples at once.
        generate: keys of `transformers.GenerationConfig`; greedy by default.
        media: `as_is`; `removed`: the same prompts without media; `swapped`: with the media of
            another sample that says something else; `blank`: zeros in place of the media.
        limit: score a random but fixed subset of at most so many samples.
        seed: of the subset, of the swap, and of sampled answers.
        cache: processed media kept from earlier passes.
        watch: names unreadable samples and stops where they are too many; by default they are only
            listed in the result.
        length: how long a prompt may be, and what to do with a longer one.
        description: of the progress bar on stderr; None shows none.

    Raises:
        DataError: there are no samples, none or not enough can be read, or a sample has nothing to
            score against.

    Example:
        >>> result = evaluate(model, source, ["cider"])  # doctest: +SKIP
        >>> result.metrics["cider"]  # doctest: +SKIP
    """
    factories = metric_factories(metrics)
    source = seeded_subset(source, limit, seed)
    if len(source) == 0:
        raise DataError("source", None, "has no samples to evaluate")
    swapped = SwappedMedia(source, seed) if media == "swapped" else None
    dataset = MediaDataset(
        swapped or source,
        model.head,
        model.require_tokenizer(),
        model.processors,
        training=False,
        media="as_is" if media == "swapped" else media,  # type: ignore[arg-type]
        cache=cache,
        limit=length,
    )
    answers: dict[int, str] = {}
    failed: dict[int, Failed] = {}
    with tqdm(
        total=len(source), desc=description, unit="sample", disable=description is None
    ) as bar:
        options = dict(generate or {})
        sampled = bool(options.get("do_sample"))
        for indices, batch in batches(dataset, 1 if sampled else batch_size):
            met = batch.pop("failed", ())
            if watch is not None:
                watch.add(met)
            failed.update(
                {failure.index: failure for failure in met if failure.kind != "truncated"}
            )
            with seeded([seed, *indices] if sampled else None):
                answers.update(_answers(model, source, indices, batch, options))
            bar.update(len(answers) + len(failed) - bar.n)
    if not answers:
        raise next(iter(failed.values())).error
    settings: dict[str, Any] = {
        "samples": len(answers),
        "failed": len(failed),
        "media": media,
        "generate": dict(generate or {}),
        "head": type(model.head).__name__,
        "prompt": model.head.prompt(source[min(answers)]),
    }
    if swapped is not None:
        settings["seed"], settings["unswapped"] = seed, swapped.unswapped
    return _scored(factories, source, answers, failed, settings)


@contextmanager
def seeded(key: Sequence[int] | None) -> Iterator[None]:
    """Draws torch's random numbers from a seed inside the block; None leaves them as they are."""
    if key is None:
        yield
        return
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(np.random.SeedSequence(list(key)).generate_state(1)[0]))
        yield


def metric_factories(metrics: Metrics) -> dict[str, Callable[[], Metric]]:
    """Turns names into functions that build the registered metric with its default options."""
    if isinstance(metrics, Mapping):
        return dict(metrics)
    from mmadapt.registry import get_registry

    classes = {name: get_registry().get("metric", name).load() for name in metrics}
    return {name: _builder(cls) for name, cls in classes.items()}


def _builder(cls: Any) -> Callable[[], Metric]:
    return lambda: cls(cls.Config())


@torch.no_grad()
def _answers(
    model: MultimodalModel,
    source: Source,
    indices: Sequence[int],
    batch: dict[str, Any],
    generate: dict[str, Any],
) -> dict[int, str]:
    """The answer of every sample in a batch, by index."""
    if not indices:
        return {}
    samples = [source[index] for index in indices]
    found = answer_batch(model, samples, to_device(batch, model.device), generate)
    return dict(zip(indices, found, strict=True))


def _scored(
    factories: Mapping[str, Callable[[], Metric]],
    source: Source,
    answers: Mapping[int, str],
    failed: Mapping[int, Failed],
    settings: dict[str, Any],
) -> EvaluationResult:
    order = sorted(answers)
    samples = [source[index] for index in order]
    predictions: list[dict[str, Any]] = []
    for index, sample in zip(order, samples, strict=True):
        references = (
            sample.get("references") or sample.get("answers") or [sample.get("target") or ""]
        )
        predictions.append(
            {
                "id": sample["id"],
                "answer": answers[index],
                "references": [text for text in references if text],
                "scores": {},
            }
        )
    values: dict[str, float] = {}
    settings = {**settings, "metrics": {}}
    for name, build in factories.items():
        metric = build()
        for index, sample in zip(order, samples, strict=True):
            with located(sample):
                metric.update(sample, answers[index])
        result = metric.compute()
        values.update(result.values)
        found = interval([result.per_sample])
        settings["metrics"][name] = {
            **result.settings,
            "per_sample_mean": {"mean": found.mean, "low": found.low, "high": found.high},
        }
        for prediction, score in zip(predictions, result.per_sample, strict=True):
            prediction["scores"][name] = score
    reasons = [{"id": f.id, "reason": str(f.error)} for _, f in sorted(failed.items())]
    return EvaluationResult(values, predictions, settings, reasons)
