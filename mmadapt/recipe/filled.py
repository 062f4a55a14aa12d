"""A recipe with the default of every option of its parts written out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mmadapt.recipe.check import ResolvedRecipe
from mmadapt.recipe.parts import ResolvedPart
from mmadapt.recipe.schema import Recipe


def filled(resolved: ResolvedRecipe) -> Recipe:
    """Return a recipe that says every option of its parts, also those left to their defaults.

    Args:
        resolved: From `resolve`.

    Returns:
        An equal recipe: it resolves to the same options.
    """
    data: dict[str, Any] = resolved.recipe.model_dump(mode="json")
    for name, part in resolved.encoders.items():
        data["encoders"][name] |= _options(part)
    data["fusion"] = _all(data["fusion"], resolved.fusions)
    data["head"] |= _options(resolved.head)
    for split, part in resolved.sources.items():
        data["data"][split] = _all(data["data"][split], part.parts or [part])
    metrics = zip(data["evaluate"]["metrics"], resolved.metrics, strict=True)
    data["evaluate"]["metrics"] = [_metric(written, part) for written, part in metrics]
    return Recipe.model_validate_json(json.dumps(data), strict=True)


def _all(written: Any, parts: Sequence[ResolvedPart]) -> Any:
    """One part, or a list of parts, with their options."""
    if isinstance(written, dict):
        return written | _options(parts[0])
    return [one | _options(part) for one, part in zip(written, parts, strict=True)]


def _metric(written: Any, part: ResolvedPart) -> Any:
    """A metric by its name alone where it has no options."""
    options = _options(part)
    if not options:
        return written
    return {"use": written, **options} if isinstance(written, str) else written | options


def _options(part: ResolvedPart) -> dict[str, Any]:
    options: dict[str, Any] = part.config.model_dump(mode="json")
    return options
