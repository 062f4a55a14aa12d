"""Answering every sample of a source and scoring the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from mmadapt import ranks
from mmadapt.contracts import Source
from mmadapt.data.cache import MemoryCache
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.items import Failed
from mmadapt.data.length import LengthLimit
from mmadapt.data.quarantine import Watch
from mmadapt.data.views import SwappedMedia, View, seeded_subset
from mmadapt.errors import DataError
from mmadapt.evaluate.answering import Answering
from mmadapt.evaluate.journal import Journal, Row
from mmadapt.evaluate.scoring import Metrics, metric_factories, scored
from mmadapt.generation.answers import decoding

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel

Media = Literal["as_is", "removed", "swapped", "blank"]


@dataclass(frozen=True)
class EvaluationResult:
    """Scores and what they were computed from.

    Args:
        metrics: values by name.
        predictions: per sample `id`, `answer`, `references`, `scores` by metric.
        settings: how it was computed: metrics (each with its version, its 95 % bootstrap interval,
            and the mean of its per-sample scores with that of its own), decoding, head, a prompt,
            number of samples and of failures, media.
        failed: `id` and `reason` of the samples that could not be read; they are not scored.
        alone: how many answers hung on rounding errors and were computed again alone.
    """

    metrics: dict[str, float]
    predictions: list[dict[str, Any]]
    settings: dict[str, Any]
    failed: list[dict[str, str]] = field(default_factory=list)
    alone: int = 0


@dataclass
class _Found:
    """What is known of the samples, by their number."""

    answers: dict[int, str] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)
    alone: int = 0


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
    exact: bool = True,
    journal: Journal | None = None,
    description: str | None = "evaluate",
) -> EvaluationResult:
    """Answers every sample of a source and scores the answers.

    The batch size changes the speed only, see `Answering`. A head's candidates are scored by
    likelihood, everything else is generated. The processes of a distributed launch share the
    samples, and all return the same result.

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
        exact: decide answers that hang on rounding errors alone, so that the batch size does not.
        journal: keeps answers as they come, and knows those of an evaluation that was cut off.
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
    options = dict(generate or {})
    swapped = SwappedMedia(source, seed) if media == "swapped" else None
    seen = source if swapped is None else swapped
    mode: Any = "as_is" if media == "swapped" else media
    if swapped is not None and watch is not None:
        watch.is_bounded = False  # one bad file may be several samples' now

    def answering(numbers: Sequence[int]) -> Answering:
        dataset = MediaDataset(
            View(seen, numbers),
            model.head,
            model.require_tokenizer(),
            model.processors,
            training=False,
            media=mode,
            cache=cache,
            limit=length,
        )
        return Answering(model, dataset, options, batch_size, seed, exact)

    kept = None if journal is None else journal.row(media, seen)
    found = _found(model, len(source), answering, watch, kept, description)
    lost = {one.index: one for one in found.failed if one.kind != "truncated"}
    if not found.answers:
        raise lost[min(lost)].error
    order = sorted(found.answers)
    samples = [source[number] for number in order]
    values, predictions, metric_settings = scored(
        factories, samples, [found.answers[number] for number in order]
    )
    settings: dict[str, Any] = {
        "samples": len(order),
        "failed": len(lost),
        "media": media,
        "generate": options,
        "decoding": decoding(model, samples[0], options),
        "exact": exact,
        "head": type(model.head).__name__,
        "prompt": model.head.prompt(samples[0]),
    }
    if swapped is not None:
        settings["seed"], settings["unswapped"] = seed, swapped.unswapped
    settings["metrics"] = metric_settings
    reasons = [{"id": one.id, "reason": str(one.error)} for _, one in sorted(lost.items())]
    return EvaluationResult(values, predictions, settings, reasons, found.alone)


def _found(
    model: MultimodalModel,
    total: int,
    answering: Callable[[Sequence[int]], Answering],
    watch: Watch | None,
    kept: Row | None,
    description: str | None,
) -> _Found:
    """Answers what is not answered yet, this process its share; all learn of everything."""
    found = _Found()
    if kept is not None:
        found.answers, found.failed = kept.known()
    left = [number for number in range(total) if number not in found.answers]
    shared = ranks.world_size() > 1 and not _is_sharded(model)
    mine = left[ranks.rank() :: ranks.world_size()] if shared else left
    problem: Exception | None = None
    try:
        if watch is not None:
            watch.add(found.failed)
        _answer(answering(mine), mine, found, watch, kept, _bar(description, total, len(mine)))
    except Exception as error:
        if not shared:
            raise
        problem = error
    if shared:
        ranks.agree(problem, model.device)
        found = _joined(ranks.gather(found))
        if watch is not None:
            watch.add(found.failed)
    return found


def _answer(
    answering: Answering,
    mine: Sequence[int],
    found: _Found,
    watch: Watch | None,
    kept: Row | None,
    progress: tqdm,
) -> None:
    """Answers this process's samples and takes note of each batch."""
    with progress as bar:
        for places, failures in answering(mine):
            answers = {mine[place]: text for place, text in places.items()}
            failed = [replace(one, index=mine[one.index]) for one in failures]
            if watch is not None:
                watch.add(failed)
            if kept is not None:
                kept.add(answers, failed)
            found.answers |= answers
            found.failed += failed
            bar.update(len(answers) + sum(one.kind != "truncated" for one in failed))
    found.alone = answering.alone


def _joined(parts: Sequence[_Found]) -> _Found:
    """What all processes found; each sample was one process's, or known to all before."""
    whole = _Found()
    for part in parts:
        whole.answers |= part.answers
        whole.failed += part.failed
        whole.alone += part.alone
    return whole


def _is_sharded(model: MultimodalModel) -> bool:
    """Whether every forward needs all processes, so that all must compute the same batches."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def _bar(description: str | None, total: int, left: int) -> tqdm:
    hidden = description is None or ranks.rank() > 0
    done = total - left if ranks.world_size() == 1 else 0
    count = total if ranks.world_size() == 1 else left  # of the first process
    return tqdm(total=count, initial=done, desc=description, unit="sample", disable=hidden)
