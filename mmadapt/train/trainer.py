"""`transformers.Trainer` for adapters: it trains, saves and loads the adapter alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import Sampler
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainingArguments,
)

from mmadapt.data.collate import Collator, padding_id
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.quarantine import Quarantine
from mmadapt.data.streamed import StreamedDataset
from mmadapt.errors import RecipeError
from mmadapt.faults import explain_faults
from mmadapt.freezing.unfreeze import Waiting
from mmadapt.train.callbacks import (
    EpochOrder,
    FrozenStays,
    ProgressBar,
    UnfreezeSchedule,
    WhenBegun,
)
from mmadapt.train.feeding import (
    StreamClock,
    planned_samples,
    sampler,
    share_after,
    stream_loader,
)
from mmadapt.train.fitting import FittingTrainer
from mmadapt.train.guarded import Named
from mmadapt.train.optimizer import parameter_groups
from mmadapt.train.signals import StopOnRequest, StopRequest
from mmadapt.types import IGNORE_INDEX

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel


class AdapterTrainer(FittingTrainer):
    """Trains the adapter of a composed model.

    Departures from its base: the optimiser sees the trainable parameters only; checkpoints hold
    the adapter only (tied LMs included, which a plain save refuses); the loss honours
    `num_items_in_batch`, so that accumulating 4 batches of 1 gives the gradients of 1 batch of 4;
    data order is a function of seed and epoch; evaluation is a function, because answers have to
    be generated.

    Args:
        model: a composed model.
        args: from `training_arguments`.
        dataset: training samples.
        validate: gives scores by name; called where the arguments ask for an evaluation.
        quarantine: names unreadable files; by default the first one stops training.
        patience: evaluations without improvement before training stops early.
        stop: whether the run was asked to stop, after which it ends with a checkpoint.
        max_skipped_steps: steps that may be left out because their loss or gradient is not finite.
        verify_frozen: prove at every checkpoint and at the end that nothing frozen has changed.
        callbacks: further ones.
        description: of the progress bar; None shows none.
    """

    def __init__(
        self,
        model: MultimodalModel,
        args: TrainingArguments,
        dataset: MediaDataset | StreamedDataset,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
        quarantine: Quarantine | None = None,
        patience: int | None = None,
        stop: StopRequest | None = None,
        max_skipped_steps: int = 0,
        verify_frozen: bool = True,
        callbacks: list[TrainerCallback] | None = None,
        description: str | None = "train",
    ) -> None:
        self.validate, self.max_skipped_steps = validate, max_skipped_steps
        total = planned_samples(args, dataset)
        self.watch = (quarantine or Quarantine()).watch("train", total, args.world_size)
        self.order = sampler(model, args, dataset) if isinstance(dataset, MediaDataset) else None
        waiting = Waiting(model) if args.world_size > 1 and model.unfrozen else None
        clock = StreamClock() if self.order is None else EpochOrder(self.order)
        restoring = WhenBegun(self.restore)
        all_callbacks = [restoring, clock, UnfreezeSchedule(waiting), *(callbacks or [])]
        if verify_frozen:
            all_callbacks.append(FrozenStays())
        if stop is not None:
            all_callbacks.append(StopOnRequest(stop))
        if patience is not None:
            all_callbacks.append(EarlyStoppingCallback(patience))
        if description is not None and not args.disable_tqdm:
            all_callbacks.append(ProgressBar(description))
        super().__init__(
            model=model,
            args=args,
            data_collator=Named(Collator(padding_id(model.require_tokenizer()))),
            train_dataset=dataset,
            eval_dataset=() if validate is not None else None,  # type: ignore[arg-type]
            callbacks=all_callbacks,
        )
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = True

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Builds the optimiser over the trainable parameters.

        Raises:
            RecipeError: `train.optim` names one that insists on the whole model.
        """
        if self.optimizer is None:
            target: Any = self.model if model is None else model
            decays = self.get_decay_parameter_names(target)
            cls, options = self.get_optimizer_cls_and_kwargs(self.args, target)
            if not isinstance(cls, type) or {"params", "model", "optimizer_dict"} & set(options):
                name = getattr(self.args.optim, "value", self.args.optim)
                raise RecipeError(f"train.optim: {name} cannot train an adapter; use adamw_torch")
            groups = parameter_groups(
                self.accelerator.unwrap_model(target),
                decays,
                self.args.learning_rate,
                self.args.weight_decay,
                self.adapter_model.recipe,
            )
            self.optimizer = cls(groups, **options)
        return self.optimizer

    def train(self, resume_from_checkpoint: str | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Trains as its base does; the progress bar never outlives an error."""
        self.resume(None if resume_from_checkpoint is None else Path(resume_from_checkpoint))
        try:
            return super().train(resume_from_checkpoint, **kwargs)
        finally:
            self._tell_step()
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, ProgressBar):
                    callback.close()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        return self.order

    def _get_dataloader(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(dataset, StreamedDataset):
            self.args.ignore_data_skip = True  # it begins where the checkpoint was written
            size = self._train_batch_size
            dataset.share = share_after(self.args, size, self.before.step, self.before.marks)
            return stream_loader(dataset, self.args, size, self.data_collator)
        loader = super()._get_dataloader(dataset, *args, **kwargs)
        # What it draws for its workers must not depend on how often it was begun anew.
        getattr(loader, "base_dataloader", loader).generator = torch.Generator()
        return loader

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Any:
        """What the loss of an optimiser step is divided by: its labelled tokens, or samples."""
        if self.adapter_model.head.loss == "sum_per_sample":
            labels = [batch["labels"] for batch in batch_samples]
            batch_samples = [{"labels": _one_label_a_row(values)} for values in labels]
        return super()._get_num_items_in_batch(batch_samples, device)

    def _tell_step(self) -> None:
        quarantine = self.watch.quarantine
        quarantine.step, quarantine.epoch = self.state.global_step, self.state.epoch

    def evaluate(  # type: ignore[override]
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Scores the model as `validate` does, and logs the scores.

        Raises:
            RecipeError: `metric_for_best_model` is not among the scores.
        """
        self._tell_step()
        started = time.perf_counter()
        with explain_faults("lower evaluate.batch_size"):  # no smaller training batch helps
            scores = self.validate() if self.validate is not None else {}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        wanted = str(self.args.metric_for_best_model or "").removeprefix("eval_")
        if wanted and wanted not in scores:
            raise RecipeError(
                f"train.metric_for_best_model: '{wanted}' is not among the scores: "
                f"{', '.join(scores)}"
            )
        metrics[f"{metric_key_prefix}_runtime"] = time.perf_counter() - started
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


def _one_label_a_row(labels: torch.Tensor) -> torch.Tensor:
    """(b, 2) labels that count 1 for each row of `labels` (b, s) with anything to predict."""
    has_any = (labels[:, 1:] != IGNORE_INDEX).any(dim=1)
    return torch.stack(
        [
            torch.full_like(has_any, IGNORE_INDEX, dtype=labels.dtype),
            torch.where(has_any, 0, IGNORE_INDEX),
        ],
        dim=1,
    )
