"""`mmadapt train`: train the adapter of a recipe."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mmadapt.cli.options import AllowCode, AsJson, Overrides, RecipeFile

OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", "-o", help="Run folder; default: runs/NAME of the recipe."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in the run folder.")]


def train(
    recipe: RecipeFile,
    overrides: Overrides = None,
    output_dir: OutputDir = None,
    resume: Resume = False,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Train the adapter of a recipe."""
    from mmadapt.cli.printing import print_scores
    from mmadapt.errors import Stopped
    from mmadapt.recipe import load_and_resolve

    resolved = load_and_resolve(recipe, overrides or (), allow_code=allow_code)

    from mmadapt.train import train as run
    from mmadapt.train.folder import is_main_process

    try:
        result = run(resolved, output_dir, resume=resume, allow_code=allow_code, quiet=as_json)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        typer.echo(f"  {resuming(sys.argv[1:])}", err=True)
        raise typer.Exit(stopped.exit_code) from None
    if is_main_process():
        print_scores(result, as_json, resolved.recipe.evaluate.num_examples)


def resuming(arguments: list[str]) -> str:
    """The command that continues a run.

    Example:
        >>> resuming(["train", "a.yaml", "train.max_steps=50"])
        'mmadapt train a.yaml train.max_steps=50 --resume'
    """
    more = [] if "--resume" in arguments else ["--resume"]
    return shlex.join(["mmadapt", *arguments, *more])
