"""The recipe's `train` block as `transformers.TrainingArguments`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from mmadapt.errors import MissingDependency, RecipeError, did_you_mean
from mmadapt.recipe import TrainConfig

EVALUATIONS = 4  # per training, unless the recipe says otherwise
LOGS = 50
# Batches are the model's own arguments, not the columns of a table.
_FIXED = {"remove_unused_columns": False, "label_names": ["labels"]}


def training_arguments(
    config: TrainConfig,
    folder: Path,
    *,
    validates: bool,
    metric: str | None,
    workers: int,
    changes: Mapping[str, Any] | None = None,
) -> TrainingArguments:
    """Fills in what the recipe leaves open.

    Ours, where transformers would do otherwise: no tracker unless `report_to` names one; a log
    line every 1/50 and a checkpoint every 1/4 of the training, the last two kept; with validation
    data an evaluation at each checkpoint, the best one by `metric_for_best_model` (the first
    metric of the recipe, else the loss) loaded at the end.

    Args:
        config: the recipe's `train` block.
        folder: of the run.
        validates: whether there are validation data.
        metric: name of the value that chooses the best checkpoint; None for the loss.
        workers: loader workers, unless the recipe says how many.
        changes: keys that replace the recipe's.

    Raises:
        RecipeError: keys that do not go together.
        MissingDependency: a tracker that is not installed.
    """
    keys = {**config.arguments, **(changes or {})}
    defaults: dict[str, Any] = {
        "report_to": "none",
        "log_level": "error",
        "disable_tqdm": False,  # otherwise it follows the log level
        "logging_steps": 1 / LOGS,
        "save_strategy": "steps",
        "save_total_limit": 2,
        "eval_strategy": "steps" if validates else "no",
        "metric_for_best_model": metric or "loss",
        "greater_is_better": metric is not None,
        "dataloader_num_workers": workers,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_nan_inf_filter": False,  # the trainer stops at such a loss
        "use_cache": True,  # otherwise the LM's configuration is changed and generation slows down
        "restore_callback_states_from_checkpoint": True,
    }
    if keys.get("label_smoothing_factor"):
        raise RecipeError(
            "train.label_smoothing_factor is not supported: transformers would smooth towards the "
            "tokens that are read, not towards those that follow; remove it"
        )
    _check_trackers(keys.get("report_to"))
    if not validates and keys.get("eval_strategy", "no") != "no":
        raise RecipeError("train.eval_strategy needs data.validation")
    if not validates and keys.get("eval_on_start"):
        raise RecipeError("train.eval_on_start needs data.validation")
    if not validates and config.early_stopping_patience is not None:
        raise RecipeError("train.early_stopping_patience needs data.validation")
    chosen = defaults | keys
    if "metric_for_best_model" in keys and "greater_is_better" not in keys:
        chosen["greater_is_better"] = not str(keys["metric_for_best_model"]).endswith("loss")
    every = 1 / EVALUATIONS
    if chosen["eval_strategy"] == "epoch":
        chosen["save_strategy"] = keys.get("save_strategy", "epoch")
    elif chosen["eval_strategy"] == "steps":
        chosen.setdefault("eval_steps", chosen.get("save_steps", every))
    if chosen["save_strategy"] == "steps":
        chosen.setdefault("save_steps", chosen.get("eval_steps", every))
    aligned = chosen["eval_strategy"] == chosen["save_strategy"]
    chosen.setdefault("load_best_model_at_end", validates and aligned)
    chosen.setdefault("dataloader_persistent_workers", int(chosen["dataloader_num_workers"]) > 0)
    try:
        args = TrainingArguments(output_dir=str(folder), **{**chosen, **_FIXED})
    except (ValueError, TypeError) as error:
        raise RecipeError(f"train: {str(error).strip().splitlines()[0]}") from error
    except ImportError as error:
        raise MissingDependency(f"train: {str(error).strip().splitlines()[0]}") from error
    if (
        args.n_gpu > 1
    ):  # one process on several GPUs: threads would share what is attached to the LM
        args._n_gpu = 1
    return args


def _check_trackers(names: str | list[str] | None) -> None:
    """Refuses trackers that transformers does not know, or that are not installed."""
    from transformers.integrations import integration_utils

    known = list(integration_utils.INTEGRATION_TO_CALLBACK)
    installed = integration_utils.get_available_reporting_integrations()
    for name in [names] if isinstance(names, str) else names or []:
        if name in ("all", "none"):
            continue
        if name not in known:
            hint = did_you_mean(name, known) or f"known are {', '.join(known)}"
            raise RecipeError(f"train.report_to: unknown tracker '{name}'; {hint}")
        if name not in installed:
            raise RecipeError(
                f"train.report_to: {name} is not installed; pip install {name}, or leave it out"
            )
