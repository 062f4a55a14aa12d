"""`mmadapt show`: print a recipe as it will be used."""

from __future__ import annotations

import typer

from mmadapt.cli.options import AllowCode, Overrides, RecipeFile


def show(recipe: RecipeFile, overrides: Overrides = None, allow_code: AllowCode = False) -> None:
    """Print a recipe with `extends`, overrides and defaults filled in."""
    from mmadapt.errors import RecipeError
    from mmadapt.recipe import load_recipe, resolve
    from mmadapt.recipe.filled import filled

    found = load_recipe(recipe, overrides or ())
    try:
        found = filled(resolve(found, allow_code=allow_code))
    except RecipeError as error:  # shown all the same, so that it can be mended
        typer.echo(f"{error}\nnote: shown without the defaults of its parts", err=True)
    typer.echo(found.to_yaml(), nl=False)
