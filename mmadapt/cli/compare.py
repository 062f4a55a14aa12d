"""`mmadapt compare`: fusions under the same budget, or runs that are finished."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmadapt.cli.options import AllowCode, AsJson, recipes_and_overrides

if TYPE_CHECKING:
    from mmadapt.bench import Result
    from mmadapt.compare.recipes import Entry

Items = Annotated[
    list[str],
    typer.Argument(
        metavar="RECIPE... | RUN...", help="Recipes and KEY=VALUE laid over each; or run folders."
    ),
]
Runs = Annotated[bool, typer.Option("--runs", help="Compare finished runs; nothing is trained.")]
OutputDir = Annotated[
    Path, typer.Option("--output-dir", "-o", help="Where the runs go; finished ones are kept.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Runs of each recipe that are reported.")]
Factors = Annotated[
    str, typer.Option(help="Learning rates to try, as multiples of each recipe's own.")
]
NoBench = Annotated[
    bool, typer.Option("--no-bench", help="Leave step time and decoding unmeasured.")
]


def compare(
    items: Items,
    runs: Runs = False,
    seeds: Seeds = 3,
    learning_rates: Factors = "0.3,1,3",
    output_dir: OutputDir = Path("runs/compare"),
    no_bench: NoBench = False,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Compare recipes that differ in their fusion, or say whether finished runs differ."""
    if runs:
        from mmadapt.compare import compare_runs

        found = compare_runs(items)
        typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else str(found))
        return
    from mmadapt.recipe import load_and_resolve

    files, overrides = recipes_and_overrides(items, "compare")
    resolved = [load_and_resolve(file, overrides, allow_code=allow_code) for file in files]
    from mmadapt.compare import Plan, compare_recipes

    plan = Plan(output_dir, range(seeds), _factors(learning_rates), overrides, allow_code)
    entries = compare_recipes(files, resolved, plan, lambda text: typer.echo(text, err=True))
    costs: list[Result] = []
    if not no_bench:
        from mmadapt.bench import Options, bench

        options = Options(against=("text-only-labelled",))
        costs = bench(resolved, options, progress=not as_json)[1:]
    if as_json:
        typer.echo(json.dumps(_plain(entries, costs), indent=2))
    else:
        from mmadapt.compare.table import table

        typer.echo(table(entries, costs))


def _plain(entries: list[Entry], costs: list[Result]) -> list[dict[str, Any]]:
    return [
        entry.to_dict() | ({"cost": cost.to_dict()} if cost is not None else {})
        for entry, cost in zip_longest(entries, costs)
    ]


def _factors(text: str) -> list[float]:
    from mmadapt.errors import RecipeError

    try:
        factors = [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        factors = []
    if not factors or min(factors) <= 0:
        raise RecipeError(f"--learning-rates {text}: must be positive numbers, such as 0.3,1,3")
    return factors
