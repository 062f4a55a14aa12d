"""What is evaluated: an adapter, and the recipe that says on what and how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmadapt.adapters.checkpoint import RECIPE
from mmadapt.composition import adapter_folder
from mmadapt.errors import AdapterError, RecipeError, did_you_mean
from mmadapt.recipe import Recipe, load_recipe
from mmadapt.recipe.load import SUFFIXES, read_node, validate
from mmadapt.recipe.node import make
from mmadapt.recipe.overrides import apply_overrides

REPLACED = ("data", "evaluate", "head")


def find_adapter(
    path: str | Path, overrides: Sequence[str] = (), revision: str | None = None
) -> Path:
    """The folder of an adapter; a recipe stands for its run in `runs/NAME`.

    Raises:
        AdapterError: there is none.
    """
    if Path(path).suffix not in SUFFIXES:
        return adapter_folder(path, revision)
    folder = Path("runs") / load_recipe(path, overrides).name
    if not folder.is_dir():
        raise AdapterError(f"{folder} holds no run of {path}; first: mmadapt train {path}")
    return adapter_folder(folder, revision)


def evaluation_recipe(
    adapter: Path, other: str | Path | None = None, overrides: Sequence[str] = ()
) -> Recipe:
    """The adapter's recipe with what another one says of data, evaluation and head.

    Args:
        adapter: its folder.
        other: a recipe whose `data`, `evaluate` and `head` stand in place of the adapter's, those
            of them that it has; its other parts are not read.
        overrides: `key=value` laid over the result.

    Raises:
        RecipeError: a mistake in it, or the other recipe has none of these parts.
    """
    if other is None:
        return load_recipe(adapter / RECIPE, overrides)
    node, given = read_node(adapter / RECIPE), read_node(other)
    if unknown := [key for key in given.value if key not in Recipe.model_fields]:
        place, hint = given.value[unknown[0]].key, did_you_mean(unknown[0], Recipe.model_fields)
        raise RecipeError([place.problem(unknown[0], "unknown key", hint)])
    parts = {key: given.value[key] for key in REPLACED if key in given.value}
    if not parts:
        raise RecipeError([given.place.problem("", f"has none of {', '.join(REPLACED)}")])
    merged = apply_overrides(make(node.value | parts, node.place), overrides)
    recipe, problems = validate(merged)
    if recipe is None:
        raise RecipeError(problems)
    return recipe
