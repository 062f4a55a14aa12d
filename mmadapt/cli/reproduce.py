"""`mmadapt reproduce`: repeat a run and compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mmadapt.cli.options import AllowCode, AsJson

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]
OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", "-o", help="Of the second run; default: RUN-reproduced."),
]


def reproduce(
    run: RunFolder,
    output_dir: OutputDir = None,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Train a finished run's recipe again and compare; exit with 1 if anything differs."""
    from mmadapt.compare.reproduction import reproduce

    found = reproduce(run, output_dir, allow_code=allow_code, quiet=as_json)
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else str(found))
    if not found.is_exact:
        raise typer.Exit(1)
