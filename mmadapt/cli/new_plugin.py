"""`mmadapt new-plugin`: write a package that adds one name to recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="encoder, fusion, head, source or metric.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The word that recipes will use.")]
Output = Annotated[
    Path, typer.Option("--output", help="Where the folder mmadapt-NAME is made; default: here.")
]


def new_plugin(kind: Kind, name: Name, output: Output = Path()) -> None:
    """Write an installable plugin package: code that works, its contract test, a workflow."""
    from mmadapt.scaffold import write_plugin

    folder = write_plugin(kind, name, output)
    typer.echo(f"wrote {folder}; next:")
    typer.echo(f"  cd {folder} && pip install -e '.[test]' && pytest")
    typer.echo(f"  mmadapt plugins --kind {kind} --verify")
