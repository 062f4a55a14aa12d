"""The versions of the packages that numbers depend on."""

from __future__ import annotations

import platform
from importlib.metadata import version

from mmadapt.recipe import ResolvedRecipe

PACKAGES = ("mmadapt", "torch", "transformers", "accelerate")


def package_versions(recipe: ResolvedRecipe | None = None) -> dict[str, str]:
    """Of Python and of the packages, by name.

    Args:
        recipe: whose plugins' packages count, too.
    """
    found = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    if recipe is None:
        return found
    parts = [*recipe.encoders.values(), *recipe.fusions, recipe.head, *recipe.metrics]
    parts += [one for part in recipe.sources.values() for one in part.parts or [part]]
    own = {part.entry.package: part.entry.version for part in parts if part.entry.package}
    return found | dict(sorted(own.items()))
