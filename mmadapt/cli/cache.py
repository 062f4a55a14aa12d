"""`mmadapt cache`: compute features ahead of training, list what is kept, make room."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mmadapt.cli.options import AllowCode, AsJson, Overrides

Recipe = Annotated[
    Path | None, typer.Argument(metavar="[RECIPE]", help="Recipe whose media are encoded.")
]
Splits = Annotated[
    list[str] | None, typer.Option("--split", help="Encode this split only; may be repeated.")
]
List = Annotated[bool, typer.Option("--list", help="List what is kept.")]
Prune = Annotated[
    bool,
    typer.Option("--prune", help="Remove what was not used for --days, then down to --max-gib."),
]
Days = Annotated[float, typer.Option(min=0, help="With --prune.")]
MaxGib = Annotated[float | None, typer.Option(min=0, help="With --prune; 0 removes everything.")]


def cache(
    recipe: Recipe = None,
    overrides: Overrides = None,
    split: Splits = None,
    list_: List = False,
    prune: Prune = False,
    days: Days = 30.0,
    max_gib: MaxGib = None,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Compute what frozen encoders say of a recipe's media once, ahead of training."""
    from mmadapt.errors import RecipeError

    if (recipe is not None) + list_ + prune != 1:
        raise RecipeError("mmadapt cache takes a recipe, or --list, or --prune")
    if list_:
        _list(as_json)
    elif prune:
        _prune(days, max_gib, as_json)
    else:
        _fill(recipe, overrides, split, as_json, allow_code)


def _fill(
    recipe: Path | None,
    overrides: list[str] | None,
    split: list[str] | None,
    as_json: bool,
    allow_code: bool,
) -> None:
    from mmadapt.quiet import quiet_transformers
    from mmadapt.recipe import load_and_resolve

    resolved = load_and_resolve(str(recipe), overrides or (), allow_code=allow_code)
    with quiet_transformers():
        from mmadapt.caching import fill_cache
        from mmadapt.faults import explain_faults

        with explain_faults("lower evaluate.batch_size"):
            result = fill_cache(resolved, split, allow_code=allow_code, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=2, default=str))
        return
    there = sum(result.present.values())
    typer.echo(f"{result.added} entries added, {there} were there already: {result.folder}")
    for name, count in result.uncached.items():
        if count:
            typer.echo(f"{name}: {count} samples have media in memory, which are not cached")


def _list(as_json: bool) -> None:
    from mmadapt.data.features.folder import cache_folder, sets_in
    from mmadapt.report import aligned

    folder = cache_folder()
    found = sets_in(folder)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2, default=str))
        return
    lines = [["set", "encoder", "model", "levels", "reduced by", "type", "entries", "MiB", "used"]]
    for one in found:
        encoder, reduce = one.about.get("encoder", {}), one.about.get("reduce")
        lines.append(
            [
                one.name,
                str(encoder.get("class", "?")).rpartition(":")[2],
                str(encoder.get("model", "?")),
                str(len(one.about.get("levels", []))),
                "-" if reduce is None else str(reduce[0]).rpartition(":")[2],
                str(one.about.get("stored") or "as computed").removeprefix("torch."),
                f"{one.entries:,}",
                f"{one.nbytes / 2**20:,.1f}",
                time.strftime("%Y-%m-%d", time.localtime(one.last_used)),
            ]
        )
    typer.echo(aligned(lines))
    typer.echo(f"{sum(one.nbytes for one in found) / 2**20:,.1f} MiB in {folder}")


def _prune(days: float, max_gib: float | None, as_json: bool) -> None:
    from mmadapt.data.features.folder import cache_folder, prune

    limit = None if max_gib is None else int(max_gib * 2**30)
    gone = prune(cache_folder(), days=days, limit=limit)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in gone], indent=2, default=str))
        return
    freed = sum(one.nbytes for one in gone)
    typer.echo(f"removed {len(gone)} sets, {freed / 2**20:,.1f} MiB")
