"""How a training gets its batches: by number in an order of its own, or as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainingArguments

from mmadapt.data.dataset import MediaDataset
from mmadapt.data.items import Mark
from mmadapt.data.order import EpochSampler, Grouping, weighted
from mmadapt.data.streamed import Share, StreamedDataset
from mmadapt.errors import RecipeError

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel


def sampler(model: MultimodalModel, args: TrainingArguments, dataset: MediaDataset) -> EpochSampler:
    """The order of samples that can be counted."""
    return EpochSampler(
        len(dataset),
        _seed(args),
        shuffle=args.train_sampling_strategy != "sequential",
        mixture=weighted(dataset.source),
        grouping=_grouping(model, args, dataset),
    )


def planned_samples(args: TrainingArguments, dataset: MediaDataset | StreamedDataset) -> int:
    """How many samples there are, or of a stream how many training will take at most."""
    if isinstance(dataset, MediaDataset):
        return len(dataset)
    steps = args.max_steps * args.gradient_accumulation_steps
    planned = steps * args.train_batch_size * args.world_size
    return min(planned, dataset.source.length or planned)


def stream_loader(
    dataset: StreamedDataset, args: TrainingArguments, size: int, collate: Any
) -> DataLoader:
    """Loads this process's share of a stream; accelerate would have one process read for all."""
    workers = args.dataloader_num_workers
    dataset.seed = _seed(args)
    dataset.shuffle = args.train_sampling_strategy != "sequential"
    return DataLoader(
        dataset,
        batch_size=size,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=args.dataloader_pin_memory,
        prefetch_factor=args.dataloader_prefetch_factor if workers else None,
        multiprocessing_context=args.dataloader_multiprocessing_context if workers else None,
        generator=torch.Generator(),
    )


class StreamClock(TrainerCallback):
    """Counts the epoch of a streamed training, which is one, in a resumed run too."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The share of the steps that is done; a resumed run would begin at 0 again."""
        state.epoch = state.global_step / state.max_steps


def share_after(args: TrainingArguments, size: int, steps: int, marks: tuple[Mark, ...]) -> Share:
    """What this process takes of a stream from an optimiser step on."""
    batches = steps * args.gradient_accumulation_steps * args.world_size
    return Share(size, args.process_index, args.world_size, batches * size, marks)


def _seed(args: TrainingArguments) -> int:
    return args.seed if args.data_seed is None else args.data_seed


def _grouping(
    model: MultimodalModel, args: TrainingArguments, dataset: MediaDataset
) -> Grouping | None:
    """How `train.train_sampling_strategy: group_by_length` puts samples together, else None."""
    strategy = args.train_sampling_strategy
    if strategy in ("random", "sequential"):
        return None
    if strategy != "group_by_length":
        known = "random, sequential or group_by_length"
        raise RecipeError(f"train.train_sampling_strategy: use {known}, not {strategy}")
    items = {name: int(encoder.num_items) for name, encoder in model.encoders.items()}  # type: ignore[arg-type]
    return Grouping(dataset.lengths(items), args.train_batch_size)
