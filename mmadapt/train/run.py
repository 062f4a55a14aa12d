"""One run: from a recipe to a trained adapter, its scores and its blind rows."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmadapt.errors import Stopped
from mmadapt.faults import LESS_MEMORY, explain_faults
from mmadapt.files import write_json, write_jsonl
from mmadapt.lock import locked
from mmadapt.quiet import quiet_transformers
from mmadapt.ranks import leave_at_exit
from mmadapt.recipe import Recipe, ResolvedRecipe, load_recipe, resolve
from mmadapt.revisions import pinned
from mmadapt.train.folder import (
    LOG,
    METRICS,
    PREDICTIONS,
    RunFolder,
    check_place,
    is_main_process,
    revisions_of_run,
)
from mmadapt.versions import package_versions

if TYPE_CHECKING:
    from mmadapt.train.session import Session
    from mmadapt.train.signals import StopRequest
    from mmadapt.train.trainer import AdapterTrainer


def train(
    recipe: Recipe | ResolvedRecipe | Mapping[str, Any] | str | Path,
    output_dir: str | Path | None = None,
    resume: bool = False,
    allow_code: bool = False,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Trains the adapter of a recipe, scores it on the test split, and writes a run folder.

    The run folder gets `recipe.yaml`, checkpoints, `log.jsonl`, `adapter/`, `predictions.jsonl`
    and, last of all, `metrics.json`. Two runs of one recipe on one machine give the same scores.

    Args:
        recipe: a path, a dictionary, or a loaded recipe.
        output_dir: the run folder; default: `runs/NAME` of the recipe.
        resume: continue the run in that folder from its last complete checkpoint.
        allow_code: accept `use: module:Class` and `trust_remote_code` from the recipe.
        quiet: no progress bars and no notices on stderr.

    Returns:
        What `metrics.json` holds, and `predictions`: `metrics`, `blind`, `blind_swapped`,
        `blind_trained` (those that the recipe asks for), `trainable_parameters`,
        `total_parameters`, `seconds`, `peak_memory_bytes`, `settings`.

    Raises:
        MMAdaptError: a mistake in the recipe or the data, or a folder that holds a run.

    Example:
        >>> from mmadapt.train import train
        >>> train("recipes/video_caption_adem.yaml")["metrics"]  # doctest: +SKIP
    """
    quiet = quiet or not is_main_process()
    if not isinstance(recipe, ResolvedRecipe):
        loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        recipe = resolve(loaded, allow_code=allow_code)
    if "train" not in recipe.sources:
        from mmadapt.data.build import no_training_data

        raise no_training_data(recipe.recipe)
    path = Path(output_dir) if output_dir is not None else Path("runs") / recipe.recipe.name
    check_place(path)
    holds = locked(path) if is_main_process() else nullcontext()
    with quiet_transformers(), holds, explain_faults(LESS_MEMORY, "then go on with --resume"):
        recipe = pinned(recipe, revisions_of_run(path) if resume else None)
        folder = RunFolder(path, recipe.recipe, resume)
        if (finished := folder.result) is not None:
            _notice(quiet, f"{path} is complete; choose another --output-dir to train again")
            return finished
        return _run(recipe, folder, resume, allow_code, quiet)


def _run(
    recipe: ResolvedRecipe, folder: RunFolder, resume: bool, allow_code: bool, quiet: bool
) -> dict[str, Any]:
    """Trains and scores in a folder that nobody else uses."""
    from mmadapt.train.session import start
    from mmadapt.train.signals import StopRequest

    started = time.perf_counter()
    session = start(recipe, folder, allow_code, quiet)
    with session.features.used(), StopRequest().heard() as stop:
        result, predictions = _scored(session, _trained(session, resume, stop))
    result["seconds"] = time.perf_counter() - started
    result["seconds_by_phase"] = session.seconds
    if is_main_process():
        if predictions:
            write_jsonl(folder.path / PREDICTIONS, predictions)
        write_json(folder.path / METRICS, result)  # last: it marks the run as complete
    for line in session.quarantine.summary():
        _notice(quiet, line)
    _notice(quiet, f"adapter and results: {folder.path}")
    return result | {"predictions": predictions}


def _notice(quiet: bool, text: str) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def _trained(session: Session, resume: bool, stop: StopRequest) -> AdapterTrainer:
    """Trains the adapter, from the last checkpoint where there is one, and saves it.

    Raises:
        Stopped: a signal asked for it; the last checkpoint is that of the last step.
    """
    from mmadapt.adapters.checkpoint import save_adapter
    from mmadapt.data.loader import training_workers
    from mmadapt.train.arguments import training_arguments
    from mmadapt.train.callbacks import RunLog
    from mmadapt.train.checkpoints import other_processes
    from mmadapt.train.trainer import AdapterTrainer
    from mmadapt.train.validation import validator

    config, folder = session.recipe.train, session.folder
    samples = session.training_samples()
    validate, metric = validator(session)
    args = training_arguments(
        config,
        folder.path,
        validates=validate is not None,
        metric=metric,
        workers=training_workers(samples),
    )
    leave_at_exit()  # what the arguments have joined
    checkpoint = folder.checkpoint(partial(_notice, session.quiet))
    if resume and checkpoint is None:
        text = f"{folder.path} holds no complete checkpoint: training starts at step 0"
        _notice(session.quiet, text)
    if checkpoint is not None and (told := other_processes(checkpoint, args.world_size)):
        _notice(session.quiet, told)
    folder.open()
    trainer = AdapterTrainer(
        session.model,
        args,
        samples,
        validate=validate,
        quarantine=session.quarantine,
        patience=config.early_stopping_patience,
        stop=stop,
        max_skipped_steps=config.max_skipped_steps,
        verify_frozen=config.verify_frozen,
        callbacks=[RunLog(folder.path / LOG)],
        description=session.bar("train"),
    )
    with session.timed("train"), folder.there():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    state = trainer.state
    if stop.received is not None and state.global_step < state.max_steps:
        place = f"after step {state.global_step} of {state.max_steps}, which is saved"
        raise Stopped(stop.received, place)
    save_adapter(session.model, folder.path / "adapter", writes=trainer.is_world_process_zero())
    return trainer


def _scored(
    session: Session, trainer: AdapterTrainer
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores the trained adapter and describes the run."""
    from mmadapt.memory import peak_memory_bytes
    from mmadapt.train.guarded import skipped_steps
    from mmadapt.train.rows import score_rows

    model, state = session.model, trainer.state
    result: dict[str, Any] = {"name": session.recipe.name}
    settings: dict[str, Any] = {
        "seed": session.seed,
        "versions": package_versions(session.resolved),
    }
    rows = score_rows(session, state.max_steps)
    if rows is not None:
        result |= rows.scores | {"failed": rows.main.failed}
        settings |= rows.settings
    losses = [record["loss"] for record in state.log_history if "loss" in record]
    result |= {
        "train_loss": losses[-1] if losses else None,
        "steps": state.global_step,
        "best_step": state.best_global_step or state.global_step,
        "skipped_steps": skipped_steps(state),
        "skipped_samples": [failure.id for failure in trainer.watch.bad.values()],
        "data": session.quarantine.counts(),
        "trainable_parameters": sum(p.numel() for p in model.trainable_parameters().values()),
        "total_parameters": sum(p.numel() for p in model.parameters()),
        "peak_memory_bytes": peak_memory_bytes(),
        "settings": settings,
    }
    return result, [] if rows is None else rows.main.predictions
