"""A trainer whose checkpoints hold the adapter, count when complete, and resume to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from transformers import EarlyStoppingCallback
from transformers.trainer_utils import rotate_checkpoints

from mmadapt.adapters.checkpoint import WEIGHTS, read_tensors, write_tensors
from mmadapt.data.items import Mark
from mmadapt.train.checkpoints import all_checkpoints, begin, seal, what_is_torn
from mmadapt.train.guarded import GuardedTrainer
from mmadapt.train.progress import Progress

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel


class ResumingTrainer(GuardedTrainer):
    """Writes and reads checkpoints.

    Departures from its base: what is saved is the adapter, no pickle of the arguments; a manifest
    completes a checkpoint before an older one is removed; the count of losses, of bad files and of
    streamed samples goes on where it stopped.

    Attributes:
        before: how far the run had come that is resumed.
        marks: how far a stream was read.
    """

    before = Progress()
    marks: tuple[Mark, ...] = ()

    @property
    def adapter_model(self) -> MultimodalModel:
        """The composed model under whatever accelerate wrapped around it."""
        return self.accelerator.unwrap_model(self.model)

    def resume(self, checkpoint: Path | None) -> None:
        """Reads how far a run had come that is to be resumed, None for a new one.

        Raises:
            MMAdaptError: the checkpoint does not say.
        """
        self.before = Progress() if checkpoint is None else Progress.read(checkpoint)
        self.marks = self.before.marks

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Any]:
        """As its base's; remembers how far a stream was read."""
        found, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        for batch in found:
            self.marks = batch.pop("marks", self.marks)
        return found, items

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """As its base's, which would train on a run that was killed after its last step."""
        if self._is_done():
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _is_done(self) -> bool:
        """Whether the last step is done, or evaluations have ended training before it."""
        waited = [
            callback.early_stopping_patience_counter >= callback.early_stopping_patience
            for callback in self.callback_handler.callbacks
            if isinstance(callback, EarlyStoppingCallback)
        ]
        return self.state.global_step >= self.state.max_steps or any(waited)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Writes a checkpoint, its manifest last, and only then removes older ones."""
        run, args = Path(self._get_output_dir(trial)), self.args
        folder = run / f"checkpoint-{self.state.global_step}"
        progress = self._progress()
        if args.should_save:
            begin(folder)
        self.accelerator.wait_for_everyone()
        limit, args.save_total_limit = args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if args.should_save:
            progress.write(folder)
            seal(folder, progress.step, args.world_size, not args.save_only_model)
            best = self.state.best_model_checkpoint
            rotate_checkpoints(str(run), limit, best_model_checkpoint=best)

    def _progress(self) -> Progress:
        loss = self.accelerator.gather(self._tr_loss.reshape(1)).mean()  # type: ignore[union-attr]
        return Progress(
            self.state.global_step,
            float(loss),
            self._total_loss_scalar,
            self._globalstep_last_logged,
            self.marks,
            self.watch.quarantine.state(),
            self.watch.state(),
        )

    def restore(self) -> None:
        """Goes on counting where the checkpoint stopped; shards are made to answer too."""
        model = self.adapter_model
        if isinstance(model, FSDPModule):  # its own weights are gathered for these calls only
            register_fsdp_forward_method(model, "generate_batch")
        if self.before.step:
            self._tr_loss += self.before.loss
            self._total_loss_scalar = self.before.logged_loss
            self._initial_global_step = 0
            self._globalstep_last_logged = self.before.logged_step
            self.watch.quarantine.restore(self.before.met)
            self.watch.restore(self.before.bad)
            if self.args.should_save:
                self._tidy()

    def _tidy(self) -> None:
        """Removes what a kill left: torn checkpoints, and older ones than are to be kept."""
        run = Path(str(self.args.output_dir))
        for path in all_checkpoints(run):
            if what_is_torn(path) is not None:
                begin(path)
        best = self.state.best_model_checkpoint
        rotate_checkpoints(str(run), self.args.save_total_limit, best_model_checkpoint=best)

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """As its base's; the best checkpoint is found where the run folder is now."""
        place = super()._init_training_state(*args, **kwargs)
        best = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.best_global_step}"
        if self.state.best_model_checkpoint is None and best.is_dir():
            self.state.best_model_checkpoint = str(best)
        return place

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        tensors = self.adapter_model.adapter_tensors()
        if state_dict is not None:  # gathered from shards
            tensors = {name: state_dict[name] for name in tensors}
        write_tensors(tensors, folder / WEIGHTS)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        self.adapter_model.load_adapter_state_dict(
            read_tensors(Path(resume_from_checkpoint) / WEIGHTS)
        )

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))
