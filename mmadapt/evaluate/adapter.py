"""Scoring a saved adapter on the data its recipe names, or another."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmadapt import ranks
from mmadapt.adapters.files import check_format
from mmadapt.composition import load
from mmadapt.contracts import Source
from mmadapt.data.build import build_source
from mmadapt.data.cache import GIBIBYTE, MemoryCache
from mmadapt.data.quarantine import FILE, Quarantine
from mmadapt.errors import RecipeError
from mmadapt.evaluate.evaluation import EvaluationResult, Media, evaluate
from mmadapt.evaluate.folder import EvaluationFolder, evaluation_settings
from mmadapt.evaluate.journal import Journal
from mmadapt.evaluate.subject import evaluation_recipe, find_adapter
from mmadapt.faults import explain_faults
from mmadapt.features.cache import feature_cache
from mmadapt.features.memory import FeatureMemory
from mmadapt.files import prepare_output
from mmadapt.inserted import length_limit
from mmadapt.lock import locked
from mmadapt.quiet import quiet_transformers
from mmadapt.recipe import Recipe, ResolvedRecipe, resolve

if TYPE_CHECKING:
    from mmadapt.contracts import Metric
    from mmadapt.model import MultimodalModel

BLIND_ROWS: dict[str, Media] = {
    "metrics": "as_is",
    "blind": "removed",
    "blind_swapped": "swapped",
}


def evaluate_adapter(
    path: str | Path,
    overrides: Iterable[str] = (),
    *,
    recipe: str | Path | None = None,
    revision: str | None = None,
    split: str | None = None,
    output_dir: str | Path | None = None,
    resume: bool = False,
    allow_code: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Scores an adapter on a split of its recipe's data or another's, blind rows included.

    With `output_dir`, every answer is on disk as soon as its batch is done, and an evaluation that
    was cut off goes on from there. Under `torchrun` or `accelerate launch` the processes share the
    samples; all of them return the result, the first one writes it.

    Args:
        path: an adapter folder, a run folder, a hub id, or a recipe whose run lies in `runs/NAME`.
        overrides: `key=value` changes to its recipe, e.g. another `data.test`.
        recipe: another recipe, whose `data`, `evaluate` and `head` stand in place of the adapter's.
        revision: branch, tag or commit of an adapter on the hub.
        split: `test`, `validation` or `train`; default: `test`, else `validation`.
        output_dir: where to write `metrics.json` and `predictions.jsonl`; default: nowhere.
        resume: continue the evaluation that `output_dir` holds.
        allow_code: as in `compose`.
        quiet: no progress bars.

    Returns:
        What `metrics.json` holds, `predictions`, and `num_examples`, how many of them to print.

    Raises:
        AdapterError: there is no adapter.
        RecipeError: the recipe has no such split or no metrics.
        MMAdaptError: the folder holds a run or an evaluation, one of something else, or one that is
            going on.
    """
    started, overrides = time.perf_counter(), list(overrides)
    ranks.join()
    adapter = find_adapter(path, overrides if recipe is None else (), revision)
    check_format(adapter)  # before its recipe is read
    loaded = evaluation_recipe(adapter, recipe, overrides)
    resolved = resolve(loaded, allow_code=allow_code)
    split = chosen_split(resolved, split)
    settings = evaluation_settings(adapter, loaded, split)
    folder = None if output_dir is None else EvaluationFolder(Path(output_dir), settings)
    shown = {"num_examples": loaded.evaluate.num_examples}
    with ExitStack() as held:
        finished, journal = (None, None) if folder is None else _opened(folder, resume, held)
        if finished is not None:
            return finished | shown
        quarantine = Quarantine(folder.path / FILE if folder else None, loaded.data.max_bad_share)
        source = build_source(resolved.sources[split], loaded.data)
        with quiet_transformers(), explain_faults("lower evaluate.batch_size"):
            model = load(adapter, recipe=loaded, allow_code=allow_code).place(_device())
            rows = _rows(model, resolved, source, split, quarantine, journal, quiet)
        main = rows["metrics"]
        summary: dict[str, Any] = {"name": loaded.name, "split": split}
        summary |= {key: result.metrics for key, result in rows.items()}
        summary["settings"] = {
            **{key: settings[key] for key in ("split", "seed", "versions")},
            "adapter": {"path": str(path), "weights": settings["adapter"]},
            **({} if recipe is None else {"recipe": str(recipe)}),
            **main.settings,
        }
        summary |= {"failed": main.failed, "data": quarantine.counts()}
        summary["seconds"] = time.perf_counter() - started
        if folder is not None and ranks.rank() == 0:
            folder.write(summary, main.predictions)
    return summary | {"predictions": main.predictions} | shown


def _rows(
    model: MultimodalModel,
    resolved: ResolvedRecipe,
    source: Source,
    split: str,
    quarantine: Quarantine,
    journal: Journal | None,
    quiet: bool,
) -> dict[str, EvaluationResult]:
    """Every row that the recipe asks for."""
    recipe: Recipe = resolved.recipe
    options = recipe.evaluate
    disk = feature_cache(model, recipe)
    cache = MemoryCache(GIBIBYTE // 2, None if disk is None else disk.reader)
    length = length_limit(model, recipe.data, int(options.generate.get("max_new_tokens", 1)))
    with FeatureMemory(model, GIBIBYTE // 2, disk).used():
        return {
            key: evaluate(
                model,
                source,
                metric_builders(resolved),
                batch_size=options.batch_size,
                generate=options.generate,
                exact=options.exact,
                media=media,
                seed=recipe.seed,
                cache=cache,
                watch=quarantine.watch(split, len(source)),
                length=length,
                journal=journal,
                description=None if quiet else f"evaluate ({media})",
            )
            for key, media in BLIND_ROWS.items()
            if media == "as_is" or media in options.blind
        }


def _opened(
    folder: EvaluationFolder, resume: bool, held: ExitStack
) -> tuple[dict[str, Any] | None, Journal | None]:
    """What a finished evaluation reported, or the journal of one that goes on.

    The first process locks the folder until `held` is left, creates and checks; all have read the
    journal before any writes to it.
    """
    cpu = torch.device("cpu")
    finished, journal, problem = None, None, None
    if ranks.rank() == 0:
        try:
            prepare_output(folder.path)
            held.enter_context(locked(folder.path, "an evaluation is going on"))
            finished = folder.open(resume)
        except Exception as error:
            problem = error
    ranks.agree(problem, cpu)
    finished = ranks.gather(finished)[0]
    if finished is None:
        try:
            journal = folder.journal(ranks.rank())
        except Exception as error:
            problem = error
        ranks.agree(problem, cpu)
    return finished, journal


def _device() -> str | None:
    """This process's own GPU where there are several processes; None chooses as `place` does."""
    if ranks.world_size() == 1 or not torch.cuda.is_available():
        return None
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


def chosen_split(resolved: ResolvedRecipe, split: str | None) -> str:
    """The split to score.

    Raises:
        RecipeError: there is none, or nothing to score it with.
    """
    known = list(resolved.sources)
    if not resolved.metrics:
        raise RecipeError("evaluate.metrics is empty; name at least one metric, e.g. [cider]")
    if split is None:
        split = next((name for name in ("test", "validation") if name in known), None)
        if split is None:
            raise RecipeError("data names neither test nor validation; add one to evaluate on")
    if split not in known:
        raise RecipeError(f"data has no split '{split}'; it has {', '.join(known) or 'none'}")
    return split


def metric_builders(resolved: ResolvedRecipe) -> dict[str, partial[Metric]]:
    """Functions that build the recipe's metrics, by name.

    Each is built once here, so that what it lacks (Java) shows before anything is answered.

    Raises:
        MissingDependency: a metric needs what is not installed.
    """
    builders = {part.name: partial(part.cls, part.config) for part in resolved.metrics}
    for build in builders.values():
        build()
    return builders
