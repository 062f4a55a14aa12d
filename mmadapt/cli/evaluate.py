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
Split = Annotated[
    str | None, typer.Option("--split", help="Split to score; default: test, else validation.")
]
OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", "-o", help="Where to write metrics.json and predictions.jsonl."),
]


def evaluate(
    subject: Subject,
    overrides: Overrides = None,
    split: Split = None,
    output_dir: OutputDir = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Score an adapter on the data its recipe names."""
    from mmadapt.cli.printing import print_scores
    from mmadapt.evaluate import evaluate_adapter

    result = evaluate_adapter(
        subject, overrides or [], split=split, output_dir=output_dir, allow_code=allow_code
    )
    print_scores(result, as_json)
