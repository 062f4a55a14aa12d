"""`mmadapt plugins`: list every name a recipe can use."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mmadapt.cli.options import AsJson

Kind = Annotated[str | None, typer.Option("--kind", help="Only this kind, e.g. fusion.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Import every class; exit with 2 if one does not work.")
]


def plugins(as_json: AsJson = False, kind: Kind = None, verify: Verify = False) -> None:
    """List every name that a recipe can use."""
    from mmadapt.errors import PluginError
    from mmadapt.registry import KINDS, get_registry

    if kind is not None and kind not in KINDS:
        raise PluginError(f"unknown kind '{kind}'; kinds: {', '.join(KINDS)}")
    rows = get_registry().describe(kind, verify)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _table(rows)
    if verify:
        _say_verified(rows, quiet=as_json)


def _say_verified(rows: list[dict[str, str]], quiet: bool) -> None:
    """Say how many work; exit with 2 if one does not."""
    bad = sum(row["status"] != "ok" for row in rows)
    if bad:
        typer.echo(f"{bad} of {len(rows)} plugins do not work", err=True)
        raise typer.Exit(2)
    if not quiet:
        typer.echo(f"{len(rows)} plugin{'' if len(rows) == 1 else 's'} verified")


def _table(rows: list[dict[str, str]]) -> None:
    """Print the rows as aligned columns, the free text last."""
    columns = ("kind", "name", "package", "version")
    titles = {column: column.upper() for column in (*columns, "summary", "status")}
    widths = {name: max(len(row[name]) for row in [titles, *rows]) for name in columns}
    for row in [titles, *rows]:
        cells = [row[name].ljust(widths[name]) for name in columns]
        note = row["summary"] if row["status"] in ("ok", "STATUS") else row["status"]
        typer.echo("  ".join([*cells, note]).rstrip())
