"""A trainer whose steps end well or in one clear error, in one process and in many."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import nn
from tqdm import tqdm
from transformers import Trainer
from transformers.trainer_callback import TrainerState

from mmadapt.data.items import Failed, Item
from mmadapt.data.quarantine import Watch
from mmadapt.errors import TrainingError
from mmadapt.faults import LESS_MEMORY
from mmadapt.memory import is_out_of_memory
from mmadapt.ranks import agree, gather, world_size
from mmadapt.train.signals import OwnProcessGroup

_NAMED = 8  # samples of a batch that an error names
SKIPPED = "skipped_samples"  # key of the log record of a step that was left out


class Named:
    """Collates and says which samples the rows are; picklable, as spawned workers need.

    Args:
        collate: gives the batch.
    """

    def __init__(self, collate: Callable[[Sequence[Any]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, results: Sequence[Any]) -> dict[str, Any]:
        """The batch, with the `ids` of its rows."""
        ids = [result.id for result in results if isinstance(result, Item)]
        return {**self.collate(results), "ids": ids}


class GuardedTrainer(Trainer):
    """Names the samples of a step that fails, and fails in all processes at once.

    Its batches have `ids` and perhaps `failed` beside the model's arguments, as `Named` makes them.

    Attributes:
        watch: counts the samples that cannot be read.
        max_skipped_steps: steps of the run that may be left out because the loss or its gradient is
            no finite number; their weights and optimiser stay as they were.
    """

    watch: Watch
    max_skipped_steps: int = 0
    _ids: list[str]
    _bad_loss: float | None = None

    def get_train_dataloader(self) -> Any:
        """The loader, whose workers a Ctrl-C spares."""
        loader: Any = super().get_train_dataloader()
        if getattr(loader, "num_workers", 0):
            inner = getattr(loader, "base_dataloader", loader)  # accelerate's only hands on
            inner.worker_init_fn = OwnProcessGroup(inner.worker_init_fn)
        return loader

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Any]:
        """The batches of one optimiser step, and what its loss is divided by.

        Raises:
            DataError: more files cannot be read than are tolerated, or a sample is wrong.
            MMAdaptError: that happened in another process.
        """
        found: list[dict[str, Any]] = []
        problem: Exception | None = None
        try:
            for batch in islice(epoch_iterator, num_batches):
                failed = batch.pop("failed", ())
                self._count(failed)
                if "input_ids" not in batch:
                    raise failed[0].error  # nothing readable was found in its place
                found.append(batch)
        except Exception as error:  # whatever it is, the other processes must not wait
            problem = error
        agree(problem, device)
        self._ids = []
        return found, self._get_num_items_in_batch(found, device)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One forward and backward.

        Raises:
            TrainingError: memory does not suffice, or the loss is no finite number.
        """
        ids = inputs.pop("ids", [])
        self._ids += ids
        shape = tuple(inputs["input_ids"].shape)
        try:
            loss = super().training_step(model, inputs, num_items_in_batch)
        except (MemoryError, RuntimeError) as error:
            if self.args.auto_find_batch_size or not is_out_of_memory(error):
                raise  # transformers halves the batch, or somebody else explains
            raise TrainingError(self._too_large(ids, shape)) from error
        if bool(torch.isfinite(loss)):
            return loss
        self._bad_loss = float(loss)
        if self._skips_left() <= 0:
            raise TrainingError(self._no_number(f"the loss is {self._bad_loss}", ids))
        return torch.zeros_like(loss)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """The norm, which is the same in all processes; a step without a finite one is left out."""
        norm: Any = super()._get_grad_norm(model, grad_norm=grad_norm)
        whole = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        is_finite = bool(torch.isfinite(torch.as_tensor(whole)))
        loss = self._bad_loss
        if not is_finite and getattr(self.accelerator, "scaler", None) is not None:
            loss = next((own for own in gather(loss) if own is not None), None)
            if loss is None:
                return norm  # float16 overflows now and then, and its scaler skips the step
        if is_finite and loss is None:
            return norm
        what = "the gradient is not finite" if loss is None else f"the loss is {loss}"
        # With a finite gradient the other processes would not know that a loss here was not.
        if self._skips_left() <= 0 or (is_finite and world_size() > 1):
            raise TrainingError(self._no_number(what, self._ids))
        assert self.optimizer is not None
        self.optimizer.zero_grad(set_to_none=True)  # an optimiser passes over what has none
        self._bad_loss = None
        ids = [name for own in gather(self._ids) for name in own]
        self.log({SKIPPED: ids, "reason": what})  # type: ignore[dict-item]
        if self.is_world_process_zero():
            step = self.state.global_step + 1
            tqdm.write(f"step {step} is left out: {what} for {_some(ids)}", file=sys.stderr)
        return 0.0

    def _skips_left(self) -> int:
        return self.max_skipped_steps - skipped_steps(self.state)

    def _count(self, failed: Sequence[Failed]) -> None:
        """Takes note of samples that cannot be used."""
        quarantine = self.watch.quarantine
        quarantine.step, quarantine.epoch = self.state.global_step, self.state.epoch
        self.watch.add(failed)

    def _no_number(self, what: str, ids: Sequence[str]) -> str:
        rate = self._get_learning_rate()
        done = skipped_steps(self.state)
        used = f" ({done} were, as many as it allows)" if done else ""
        return (
            f"{what} at step {self.state.global_step + 1} (learning rate {rate:.3g}), for the "
            f"samples {_some(ids)}; lower train.learning_rate, raise train.warmup_steps, keep "
            "train.max_grad_norm at 1.0 or below, and use train.bf16 in place of fp16; "
            f"train.max_skipped_steps lets such steps be left out{used}"
        )

    def _too_large(self, ids: Sequence[str], shape: tuple[int, ...]) -> str:
        place = "the GPU" if self.args.device.type == "cuda" else "this machine"
        return (
            f"the memory of {place} does not suffice for step {self.state.global_step + 1}, "
            f"{' x '.join(map(str, shape))} text tokens and the media of the samples "
            f"{_some(ids)}: {LESS_MEMORY}"
        )


def skipped_steps(state: TrainerState) -> int:
    """How many steps of a run were left out, those before it was resumed included."""
    return sum(SKIPPED in record for record in state.log_history)


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more
