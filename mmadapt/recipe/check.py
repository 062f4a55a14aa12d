"""From names to classes: `resolve` finds every part's class and validates its options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmadapt.errors import Problem, RecipeError
from mmadapt.recipe.load import read_node, validate
from mmadapt.recipe.node import Place, from_python
from mmadapt.recipe.parts import PartChecker, ResolvedPart
from mmadapt.recipe.schema import Recipe
from mmadapt.registry import Registry, get_registry


@dataclass
class ResolvedRecipe:
    """A recipe of which every name and option is known to be right.

    Args:
        recipe: The recipe.
        encoders: By name.
        fusions: In recipe order, matching `recipe.fusions`.
        head: The task.
        sources: By split, those that are given.
        metrics: In recipe order.
    """

    recipe: Recipe
    encoders: dict[str, ResolvedPart] = field(default_factory=dict)
    fusions: list[ResolvedPart] = field(default_factory=list)
    head: ResolvedPart = None  # type: ignore[assignment]  # filled by `resolve`
    sources: dict[str, ResolvedPart] = field(default_factory=dict)
    metrics: list[ResolvedPart] = field(default_factory=list)


def resolve(
    recipe: Recipe, registry: Registry | None = None, allow_code: bool = False
) -> ResolvedRecipe:
    """Find the class of every part and validate its options; nothing is downloaded or built.

    Args:
        recipe: From `load_recipe`.
        registry: Names to choose from; default: those of the installed plugins.
        allow_code: Accept `use: module:Class`, which runs that code.

    Returns:
        The classes and their validated options.

    Raises:
        RecipeError: With one problem per mistake, at the place where it was written.
    """
    node = recipe._node or from_python(recipe.model_dump(), Place("recipe"))
    checker = PartChecker(node, registry or get_registry(), allow_code)
    checker.run()
    if checker.problems:
        raise RecipeError(_in_order(checker.problems))
    return ResolvedRecipe(
        recipe,
        {part.name: part for part in checker.found["encoder"]},
        checker.found["fusion"],
        checker.found["head"][0],
        _by_split(recipe, checker.found["source"]),
        checker.found["metric"],
    )


def load_and_resolve(
    source: str | Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    registry: Registry | None = None,
    allow_code: bool = False,
) -> ResolvedRecipe:
    """Read and resolve a recipe in one go, so that all its mistakes are told at once.

    Raises:
        RecipeError: With the problems of the schema and of every part that can be looked at.
    """
    node = read_node(source, overrides)
    recipe, problems = validate(node)
    if recipe is not None:
        return resolve(recipe, registry, allow_code)
    checker = PartChecker(node, registry or get_registry(), allow_code)
    checker.run()
    told = {problem.key for problem in problems}
    more = [problem for problem in checker.problems if problem.key not in told]
    raise RecipeError(_in_order(problems + more))


def _by_split(recipe: Recipe, found: list[ResolvedPart]) -> dict[str, ResolvedPart]:
    """The source of each split; several that are mixed become one part."""
    sources: dict[str, ResolvedPart] = {}
    for split in recipe.data.sources:
        parts = tuple(part for part in found if part.name.partition(".")[0] == split)
        sources[split] = parts[0]
        if isinstance(recipe.data.train, list) and split == "train":
            weights = tuple(part.weight for part in recipe.data.train if part.weight)
            sources[split] = replace(parts[0], name=split, parts=parts, weights=weights or None)
    return sources


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
