"""Compares recipes fairly: the same LM, data and budget, tuned alike, over several seeds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from mmadapt.compare.runs import Run, read_run
from mmadapt.errors import MMAdaptError, RecipeError
from mmadapt.evaluate.statistics import Interval, interval
from mmadapt.recipe import Recipe, ResolvedRecipe
from mmadapt.train.validation import headline

SAME = ("lm", "data", "head")
BUDGET = (
    "max_steps",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
)


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Args:
        output_dir: holds a folder for every run; finished runs are not repeated.
        seeds: of the runs that are reported.
        factors: learning rates tried for each recipe, as multiples of its own; the validation split
            chooses, with the first seed.
        overrides: `key=value` laid over every recipe.
        allow_code: as in `mmadapt train`.
    """

    output_dir: Path
    seeds: Sequence[int] = (0, 1, 2)
    factors: Sequence[float] = (0.3, 1.0, 3.0)
    overrides: Sequence[str] = ()
    allow_code: bool = False


@dataclass(frozen=True)
class Entry:
    """One recipe's line: quality with its interval, blind rows, sizes and costs.

    Args:
        name: of the recipe.
        metric: the first of the recipes' metrics.
        quality: over seeds and samples, on the test split.
        values: the metric's own value for each seed.
        blind: the metric's value of each blind row, mean over the seeds.
        learning_rate: chosen on the validation split.
        tried: validation score of each learning rate.
        trainable_parameters: of the adapter.
        seconds: of training, mean over the seeds.
        peak_memory_bytes: of the process, largest over the seeds.
    """

    name: str
    metric: str
    quality: Interval
    values: list[float]
    blind: dict[str, float]
    learning_rate: float
    tried: dict[str, float]
    trainable_parameters: int
    seconds: float
    peak_memory_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return asdict(self)


def compare_recipes(
    files: Sequence[str | Path],
    recipes: Sequence[ResolvedRecipe],
    plan: Plan,
    say: Callable[[str], None] = print,
) -> list[Entry]:
    """Tunes and trains every recipe, each run in a process of its own.

    Args:
        files: the recipes' files.
        recipes: what they say, overrides included.
        plan: seeds, learning rates, where the runs go.
        say: is told of every run.

    Raises:
        RecipeError: the recipes differ in LM, data, head or budget, or lack a split or a metric.
        MMAdaptError: a run fails.
    """
    _check_alike(recipes)
    return [
        _compare_one(str(file), found.recipe, plan, say)
        for file, found in zip(files, recipes, strict=True)
    ]


def _compare_one(file: str, recipe: Recipe, plan: Plan, say: Callable[[str], None]) -> Entry:
    metric = recipe.evaluate.metric_parts[0].use
    own = float(recipe.train.arguments.get("learning_rate", 5e-5))
    tried: dict[float, float] = {}
    for factor in plan.factors if len(plan.factors) > 1 else ():
        rate = own * factor
        changes = [f"train.learning_rate={rate:g}", f"train.seed={plan.seeds[0]}"]
        run = _run(file, recipe.name, f"lr{rate:g}", plan, [*changes, *_ONLY_VALIDATION], say)
        tried[rate] = headline(run.report["metrics"], metric)
    best = max(tried, key=lambda rate: tried[rate]) if tried else own * plan.factors[0]
    runs = []
    for seed in plan.seeds:
        changes = [f"train.learning_rate={best:g}", f"train.seed={seed}"]
        runs.append(_run(file, recipe.name, f"lr{best:g}-seed{seed}", plan, changes, say))
    rows = [key for key in ("blind", "blind_swapped", "blind_trained") if key in runs[0].report]
    return Entry(
        recipe.name,
        metric,
        interval([list(run.scores[metric].values()) for run in runs]),
        [headline(run.report["metrics"], metric) for run in runs],
        {row: mean([headline(run.report[row], metric) for run in runs]) for row in rows},
        best,
        {f"{rate:g}": score for rate, score in tried.items()},
        runs[0].report["trainable_parameters"],
        mean([run.report["seconds_by_phase"]["train"] for run in runs]),
        max(run.report["peak_memory_bytes"].get("process", 0) for run in runs),
    )


_ONLY_VALIDATION = ("data.test=null", "evaluate.blind=[]")


def _run(
    file: str,
    name: str,
    label: str,
    plan: Plan,
    changes: Sequence[str],
    say: Callable[[str], None],
) -> Run:
    """The run of a recipe in its own folder; one cut off is resumed, one that is finished kept.

    `train --resume` refuses a folder whose run was of another recipe.
    """
    folder = plan.output_dir / name / label
    say(f"{folder}: {'finished before' if (folder / 'metrics.json').is_file() else 'training'}")
    command = [sys.executable, "-m", "mmadapt.cli", "train", file, *plan.overrides, *changes]
    command += ["--output-dir", str(folder), "--json"]
    command += ["--resume"] if folder.is_dir() and any(folder.iterdir()) else []
    command += ["--allow-code"] if plan.allow_code else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no word about why"]
        raise MMAdaptError(f"the run {folder} failed: {said[-1]}")
    return read_run(folder)


def _check_alike(recipes: Sequence[ResolvedRecipe]) -> None:
    """Refuses what would make the comparison unfair, or impossible."""
    first = recipes[0].recipe
    names = [found.recipe.name for found in recipes]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise RecipeError(f"two recipes are named '{repeated[0]}'; give one another name")
    for found in recipes:
        recipe = found.recipe
        if not {"validation", "test"} <= set(found.sources) or not recipe.evaluate.metric_parts:
            raise RecipeError(
                f"{recipe.name}: a comparison needs data.validation (for the learning rate), "
                "data.test and evaluate.metrics"
            )
        differing = [
            key
            for key in SAME
            if getattr(recipe, key).model_dump() != getattr(first, key).model_dump()
        ]
        differing += [
            f"train.{key}"
            for key in BUDGET
            if recipe.train.arguments.get(key) != first.train.arguments.get(key)
        ]
        if [part.use for part in recipe.evaluate.metric_parts] != [
            part.use for part in first.evaluate.metric_parts
        ]:
            differing.append("evaluate.metrics")
        if differing:
            raise RecipeError(
                f"{recipe.name} and {first.name} differ in {', '.join(differing)}; make them "
                "equal, for example by KEY=VALUE, so that only the fusion differs"
            )
