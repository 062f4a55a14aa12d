"""Scores during training, which choose the best checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from mmadapt.data.dataset import MediaDataset
from mmadapt.data.loader import batches, to_device
from mmadapt.data.quarantine import Watch
from mmadapt.data.views import seeded_subset
from mmadapt.evaluate.adapter import metric_builders
from mmadapt.evaluate.evaluation import evaluate
from mmadapt.loss import labelled_samples
from mmadapt.model import MultimodalModel
from mmadapt.train.session import Session
from mmadapt.types import IGNORE_INDEX

VALIDATION_SAMPLES = 256  # scored at each evaluation: a fixed random subset


def validator(session: Session) -> tuple[Callable[[], dict[str, float]] | None, str | None]:
    """What scores the validation split, and the name of the value that chooses the best checkpoint.

    A fixed random subset of the split is scored with the recipe's metrics; the loss is computed
    where there are none, or where `train.metric_for_best_model` asks for it.

    Returns:
        A function without arguments, or None without validation data; a name, or None for the loss.
    """
    if "validation" not in session.sources:
        return None, None
    options = session.recipe.evaluate
    builders = metric_builders(session.resolved)
    first = next(iter(builders), "")
    wanted = str(session.recipe.train.arguments.get("metric_for_best_model", ""))
    needs_loss = not builders or wanted.endswith("loss")
    source = seeded_subset(session.sources["validation"], VALIDATION_SAMPLES, session.seed)
    told = session.samples("validation", augment=False, substitute=False) if needs_loss else None

    def validate() -> dict[str, float]:
        scores: dict[str, float] = {}
        if told is not None:
            watch = session.quarantine.watch("validation", len(told))
            scores["loss"] = mean_loss(session.model, told, options.batch_size, watch)
        if builders:
            result = evaluate(
                session.model,
                source,
                builders,
                batch_size=options.batch_size,
                generate=options.generate,
                exact=options.exact,
                seed=session.seed,
                cache=session.cache,
                watch=session.quarantine.watch("validation", len(source)),
                length=session.limit(options.generate),
                description=None,
            )
            scores |= result.metrics
            scores.setdefault(first, headline(result.metrics, first))
        return scores

    return validate, first or None


def headline(values: Mapping[str, float], metric: str) -> float:
    """The one value that stands for a metric: its own name's, else the last that begins with it.

    Example:
        >>> headline({"bleu_1": 0.5, "bleu_4": 0.25}, "bleu")
        0.25
    """
    names = [name for name in values if name == metric or name.startswith(f"{metric}_")]
    return values[names[-1]] if names else next(iter(values.values()))


@torch.no_grad()
def mean_loss(
    model: MultimodalModel, samples: MediaDataset, batch_size: int, watch: Watch | None = None
) -> float:
    """Mean loss per labelled token, or as the head counts it, of a dataset with targets.

    Unreadable samples are left out; `watch` stops where they are too many.
    """
    total, count = 0.0, 0
    was_training = model.training
    model.eval()
    try:
        for _, batch in batches(samples, batch_size, with_labels=True):
            failed = batch.pop("failed", ())
            if watch is not None:
                watch.add(failed)
            if not batch:
                continue
            labels = batch["labels"]
            by_sample = model.head.loss == "sum_per_sample"
            items = labelled_samples(labels) if by_sample else int((labels != IGNORE_INDEX).sum())
            output: Any = model(**to_device(batch, model.device), num_items_in_batch=1)
            total, count = total + float(output.loss), count + items
    finally:
        model.train(was_training)
    return total / max(count, 1)
