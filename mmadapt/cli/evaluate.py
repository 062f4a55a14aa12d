"""`mmadapt evaluate`: score an adapter."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mmadapt.cli.options import AllowCode, AsJson, Revision

INTERRUPTED = 130

Subject = Annotated[
    str,
    typer.Argument(
        metavar="ADAPTER|RECIPE",
        help="Adapter or run folder, hub id, or a recipe that was trained (runs/NAME).",
    ),
]
Items = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE]...",
        help="Another recipe, whose data, evaluate and head stand in place of the adapter's; and "
        "values laid over it, e.g. evaluate.batch_size=64.",
    ),
]
Split = Annotated[
    str | None, typer.Option("--split", help="Split to score; default: test, else validation.")
]
OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", "-o", help="Where to write metrics.json and predictions.jsonl."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the evaluation in the output folder.")
]


def evaluate(
    subject: Subject,
    items: Items = None,
    revision: Revision = None,
    split: Split = None,
    output_dir: OutputDir = None,
    resume: Resume = False,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Score an adapter on the data its recipe names, or another's."""
    from mmadapt.cli.printing import print_scores

    recipe, overrides = _recipe_and_overrides(items or [])
    if resume and output_dir is None:
        raise typer.BadParameter("--resume needs the --output-dir of the evaluation to continue")

    from mmadapt.evaluate import evaluate_adapter
    from mmadapt.ranks import rank

    try:
        result = evaluate_adapter(
            subject,
            overrides,
            recipe=recipe,
            revision=revision,
            split=split,
            output_dir=output_dir,
            resume=resume,
            allow_code=allow_code,
            quiet=as_json,
        )
    except KeyboardInterrupt:
        if output_dir is None:
            raise
        more = [] if "--resume" in sys.argv else ["--resume"]
        typer.echo("interrupted; what was answered is kept, continue with", err=True)
        typer.echo(f"  {shlex.join(['mmadapt', *sys.argv[1:], *more])}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    num_examples = result.pop("num_examples")
    if rank() == 0:
        print_scores(result, as_json, num_examples)
        if output_dir is None and not as_json:
            typer.echo(
                "nothing was written; --output-dir FOLDER keeps scores and answers", err=True
            )


def _recipe_and_overrides(items: list[str]) -> tuple[str | None, list[str]]:
    overrides = [item for item in items if "=" in item and not Path(item).is_file()]
    files = [item for item in items if item not in overrides]
    if len(files) > 1:
        raise typer.BadParameter(f"one other recipe at most, not {', '.join(files)}")
    return (files[0] if files else None), overrides
