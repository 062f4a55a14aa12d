"""Arguments and options that several commands share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def _import_from_here(allowed: bool) -> bool:
    """Let `use: module:Class` find modules in the current folder, as `python` itself does."""
    if allowed and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return allowed


RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file (YAML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Values laid over the recipe, e.g. train.max_steps=50; null removes a key.",
    ),
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        callback=_import_from_here,
        help="Run Python code that the recipe names as `use: module:Class`.",
    ),
]
Revision = Annotated[
    str | None,
    typer.Option("--revision", help="Branch, tag or commit of an adapter on the hub."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def recipes_and_overrides(items: list[str], purpose: str) -> tuple[list[str], list[str]]:
    """Splits arguments into recipe files and the KEY=VALUE laid over each.

    Raises:
        RecipeError: no file is named.
    """
    from mmadapt.errors import RecipeError

    overrides = [item for item in items if "=" in item and not Path(item).exists()]
    files = [item for item in items if item not in overrides]
    if not files:
        raise RecipeError(f"no recipe to {purpose}; name at least one file")
    return files, overrides
