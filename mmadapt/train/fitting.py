"""A trainer that finds the batch that fits: `train.auto_find_batch_size`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mmadapt.errors import MMAdaptError, RecipeError, TrainingError
from mmadapt.faults import LESS_MEMORY
from mmadapt.memory import is_out_of_memory
from mmadapt.ranks import world_size
from mmadapt.train.callbacks import ProgressBar
from mmadapt.train.checkpoints import last_checkpoint
from mmadapt.train.resuming import ResumingTrainer


class FittingTrainer(ResumingTrainer):
    """Halves a batch that memory does not suffice for, and accumulates twice as many.

    Departures from its base, which takes a tenth off and begins again with the weights as they are:
    an optimiser step stays the same samples and the same loss, so order, schedule and result are
    those of the recipe up to float sums; training goes on from the last checkpoint, or begins again
    with the weights it began with.
    """

    _unfit: int | None = None  # the batch that did not fit

    def _inner_training_loop(self, batch_size: int | None = None, *args: Any, **kwargs: Any) -> Any:
        if not self.args.auto_find_batch_size:
            return super()._inner_training_loop(batch_size, *args, **kwargs)
        if world_size() > 1:
            raise RecipeError(
                "train.auto_find_batch_size: a process without memory would leave the others "
                "waiting; with several processes set train.per_device_train_batch_size"
            )
        size = batch_size or self.args.train_batch_size
        samples = self.args.train_batch_size * self.args.gradient_accumulation_steps
        weights = {name: x.clone() for name, x in self.adapter_model.adapter_state_dict().items()}
        noise = _noise()
        while True:
            self.args.gradient_accumulation_steps = max(1, samples // size)
            try:
                return super()._inner_training_loop(size, *args, **kwargs)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    text = f"memory does not suffice for batches of one sample: {LESS_MEMORY}"
                    raise TrainingError(text) from error
            self._unfit, size = size, smaller_batch(size, samples)
            kwargs["resume_from_checkpoint"] = self._begin_again(weights, noise)

    def _begin_again(self, weights: dict[str, Tensor], noise: Any) -> str | None:
        """Goes back to the last checkpoint, whose path it returns, or to the start."""
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, ProgressBar):
                callback.close()
        self.adapter_model.zero_grad(set_to_none=True)
        self.optimizer = self.lr_scheduler = None
        try:
            checkpoint = last_checkpoint(Path(str(self.args.output_dir)))
        except MMAdaptError:  # those there are hold no state of the optimiser
            checkpoint = None
        self.resume(checkpoint)
        if checkpoint is not None:
            self._load_from_checkpoint(str(checkpoint))
            return str(checkpoint)
        self.adapter_model.load_adapter_state_dict(weights)
        torch.set_rng_state(noise[0])
        if noise[1]:
            torch.cuda.set_rng_state_all(noise[1])
        return None

    def restore(self) -> None:
        """As its base's; says which batch did not fit and which is tried now."""
        super().restore()
        if self._unfit is None:
            return
        size, steps = self._train_batch_size, self.args.gradient_accumulation_steps
        self.state.train_batch_size = size
        record = {"batch_size": size, "gradient_accumulation_steps": steps}
        self.log({**record, "out_of_memory_at": self._unfit})
        tqdm.write(
            f"memory does not suffice for batches of {self._unfit}: from step "
            f"{self.state.global_step} on batches of {size}, {steps} for each step",
            file=sys.stderr,
        )


def smaller_batch(size: int, samples: int) -> int:
    """The largest batch up to half of `size` that a step's samples divide into.

    Example:
        >>> smaller_batch(8, 8), smaller_batch(6, 6), smaller_batch(5, 5), smaller_batch(3, 12)
        (4, 3, 1, 1)
    """
    return next(half for half in range(max(1, size // 2), 0, -1) if samples % half == 0)


def _noise() -> tuple[Tensor, list[Tensor]]:
    """The state of the random generators."""
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), of_gpus
