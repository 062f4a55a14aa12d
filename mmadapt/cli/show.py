"""`mmadapt show`: print a recipe as it will be used."""

from __future__ import annotations

import typer

from mmadapt.cli.options import Overrides, RecipeFile


def show(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Print a recipe with `extends`, overrides and defaults filled in."""
    from mmadapt.recipe import load_recipe

    typer.echo(load_recipe(recipe, overrides or ()).to_yaml(), nl=False)
