"""`mmadapt schema`: the JSON Schema that gives editors completion and hover texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[
    Path | None, typer.Option("--output", help="File to write; default: print the schema.")
]


def schema(output: Output = None) -> None:
    """Print the JSON Schema of recipes with the installed plugins, for editors."""
    from mmadapt.recipe.json_schema import recipe_schema

    text = json.dumps(recipe_schema(), indent=1, ensure_ascii=False)
    if output is None:
        typer.echo(text)
        return
    output.write_text(text + "\n", encoding="utf-8")
    typer.echo(f"wrote {output}; first line of a recipe: # yaml-language-server: $schema={output}")
