"""How many workers prepare samples, and loading outside of training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from mmadapt.data.collate import Collator, padding_id
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.items import Item
from mmadapt.data.streamed import StreamedDataset

MAX_WORKERS = 4


def spare_workers() -> int:
    """Loader workers that leave three quarters of the cores to the model."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(MAX_WORKERS, cores // 4)


def training_workers(dataset: MediaDataset | StreamedDataset) -> int:
    """0 where memory is expected to hold everything after the first epoch, else `spare_workers()`.

    The first sample is prepared and its size taken for all. Streams are too long for that.
    """
    if isinstance(dataset, StreamedDataset):
        return spare_workers()
    before = dataset.cache.used
    first = dataset[0]
    kept = dataset.cache.used - before
    needs_no_media = isinstance(first, Item) and not first.media and not first.cached
    fits = kept > 0 and kept * len(dataset) <= dataset.cache.budget
    return 0 if needs_no_media or fits else spare_workers()


def batches(
    dataset: MediaDataset, batch_size: int, *, with_labels: bool = False, workers: int | None = None
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Loads a dataset once, in order.

    Args:
        dataset: what to load.
        batch_size: samples per batch.
        with_labels: include `labels`.
        workers: loader workers; default: `spare_workers()`.

    Yields:
        The indices of the samples in the batch, and the batch.
    """
    collator = Collator(padding_id(dataset.tokenizer), with_labels=with_labels)
    yield from DataLoader(
        dataset,  # type: ignore[arg-type]  # a sequence of items
        batch_size=batch_size,
        num_workers=spare_workers() if workers is None else workers,
        collate_fn=_Indexed(collator),
        pin_memory=False,
    )


class _Indexed:
    """Collates and says which samples the rows are; picklable, as spawned workers need."""

    def __init__(self, collator: Collator) -> None:
        self.collator = collator

    def __call__(self, results: list[Any]) -> tuple[list[int], dict[str, Any]]:
        indices = [result.index for result in results if isinstance(result, Item)]
        return indices, self.collator(results)


def to_device(value: Any, device: torch.device) -> Any:
    """Moves the tensors of a batch; everything else stays as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(to_device(item, device) for item in value)
    return value
