"""`mmadapt evaluate`: score an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmadapt.cli.options import AllowCode, AsJson, Overrides

Subject = Annotated[
    str,
    typer.Argument(
        metavar="ADAPTER|RECIPE",
        help="Adapter or run folder, hub id, or a recipe that was trained (runs/NAME).",
    ),
]


def evaluate(
    subject: Subject,
    overrides: Overrides = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Score an adapter on the data its recipe names."""
    from mmadapt.cli.printing import print_result

    path = _adapter(subject, overrides or [])

    from mmadapt.evaluate import evaluate_adapter

    print_result(evaluate_adapter(path, overrides or [], allow_code=allow_code), as_json)


def _adapter(subject: str, overrides: list[str]) -> str:
    """Return the adapter that was asked for; a recipe stands for its run folder."""
    if Path(subject).suffix not in (".yaml", ".yml"):
        return subject
    from mmadapt.errors import AdapterError
    from mmadapt.recipe import load_recipe

    folder = Path("runs") / load_recipe(subject, overrides).name
    if not folder.is_dir():
        raise AdapterError(f"{folder} holds no run of {subject}; first: mmadapt train {subject}")
    return str(folder)
