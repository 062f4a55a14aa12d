"""Scoring a saved adapter on the data its recipe names."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmadapt.data.build import build_source
from mmadapt.data.cache import GIBIBYTE, MemoryCache
from mmadapt.data.quarantine import FILE, Quarantine
from mmadapt.errors import AdapterError, RecipeError
from mmadapt.evaluate.evaluation import Media, evaluate
from mmadapt.faults import explain_faults
from mmadapt.feature_memory import FeatureMemory
from mmadapt.files import prepare_output, write_json, write_jsonl
from mmadapt.inserted import length_limit
from mmadapt.quiet import quiet_transformers
from mmadapt.recipe import ResolvedRecipe, load_recipe, resolve

if TYPE_CHECKING:
    from mmadapt.contracts import Metric

BLIND_ROWS: dict[str, Media] = {
    "metrics": "as_is",
    "blind": "removed",
    "blind_swapped": "swapped",
}


def evaluate_adapter(
    path: str | Path,
    overrides: Iterable[str] = (),
    *,
    split: str | None = None,
    output_dir: str | Path | None = None,
    allow_code: bool = False,
) -> dict[str, Any]:
    """Scores an adapter on a split of its recipe's data, blind rows included.

    Args:
        path: an adapter folder, a run folder, a hub id, or a recipe whose run lies in `runs/NAME`.
        overrides: `key=value` changes to its recipe, e.g. another `data.test`.
        split: `test`, `validation` or `train`; default: `test`, else `validation`.
        output_dir: where to write `metrics.json` and `predictions.jsonl`; default: nowhere.
        allow_code: as in `compose`.

    Returns:
        What `metrics.json` holds, and `predictions`.

    Raises:
        AdapterError: there is no adapter.
        RecipeError: the recipe has no such split or no metrics.
    """
    from mmadapt.composition import load

    started, overrides = time.perf_counter(), list(overrides)
    folder = None if output_dir is None else prepare_output(Path(output_dir))
    with quiet_transformers(), explain_faults("lower evaluate.batch_size"):
        model = load(_adapter_of(path, overrides), overrides=overrides, allow_code=allow_code)
        model.place()
        resolved = resolve(model.recipe, allow_code=allow_code)
        part = resolved.sources[chosen_split(resolved, split)]
        data, options = resolved.recipe.data, resolved.recipe.evaluate
        source, cache = build_source(part, data), MemoryCache(GIBIBYTE // 2)
        quarantine = Quarantine(folder / FILE if folder else None, data.max_bad_share)
        length = length_limit(model, data, int(options.generate.get("max_new_tokens", 1)))
        with FeatureMemory(model, GIBIBYTE // 2).used():
            results = {
                key: evaluate(
                    model,
                    source,
                    metric_builders(resolved),
                    batch_size=resolved.recipe.evaluate.batch_size,
                    generate=resolved.recipe.evaluate.generate,
                    media=media,
                    seed=resolved.recipe.seed,
                    cache=cache,
                    watch=quarantine.watch(part.name, len(source)),
                    length=length,
                    description=f"evaluate ({media})",
                )
                for key, media in BLIND_ROWS.items()
                if media == "as_is" or media in resolved.recipe.evaluate.blind
            }
    main = results["metrics"]
    summary: dict[str, Any] = {"name": resolved.recipe.name, "split": part.name}
    summary |= {key: result.metrics for key, result in results.items()}
    summary |= {"settings": main.settings, "failed": main.failed}
    summary["data"] = quarantine.counts()
    summary["seconds"] = time.perf_counter() - started
    if folder is not None:
        write_json(folder / "metrics.json", summary)
        write_jsonl(folder / "predictions.jsonl", main.predictions)
    return summary | {"predictions": main.predictions}


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
    """Functions that build the recipe's metrics, by name."""
    return {part.name: partial(part.cls, part.config) for part in resolved.metrics}


def _adapter_of(path: str | Path, overrides: list[str]) -> str | Path:
    """The adapter that was asked for; a recipe stands for its run folder."""
    if Path(path).suffix not in (".yaml", ".yml"):
        return path
    folder = Path("runs") / load_recipe(path, overrides).name
    if not folder.is_dir():
        raise AdapterError(f"{folder} holds no run of {path}; first: mmadapt train {path}")
    return folder
