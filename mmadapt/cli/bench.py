"""`mmadapt bench`: what fusions cost beside the frozen LM alone."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mmadapt.cli.options import AllowCode, AsJson, recipes_and_overrides

Recipes = Annotated[
    list[str],
    typer.Argument(metavar="RECIPE...", help="Recipes of one LM, and KEY=VALUE laid over each."),
]
Against = Annotated[
    str,
    typer.Option(
        help="Rows beside the recipes': text-only, text-only-labelled, prefix, prefix-lora."
    ),
]
Count = Annotated[int, typer.Option(min=1)]
Items = Annotated[
    str | None,
    typer.Option(
        help="Media items (frames, images) of a sample; several (1,4,16,64,256) tell the growth."
    ),
]
Sizes = Annotated[str, typer.Option(help="Batch sizes of generation; '' measures training only.")]
Random = Annotated[
    bool, typer.Option("--random-weights", help="Make the LM from its configuration alone.")
]
Device = Annotated[str | None, typer.Option(help="Default: a GPU if there is one.")]
Dtype = Annotated[str | None, typer.Option(help="Of the LM; default: the recipe's.")]
Cache = Annotated[
    bool, typer.Option("--cache", help="Measure training with and without the feature cache.")
]
Data = Annotated[
    bool, typer.Option("--data", help="Measure the loader, and how long training waits for it.")
]
Workers = Annotated[
    str | None,
    typer.Option(help="With --data: numbers of loader workers, such as 0,2; default: training's."),
]
NoTrain = Annotated[bool, typer.Option("--no-train", help="Measure generation only.")]


def bench(
    recipes: Recipes,
    against: Against = "text-only,text-only-labelled,prefix",
    batch_size: Count = 4,
    text_tokens: Count = 48,
    labelled_tokens: Count = 24,
    items: Items = None,
    rounds: Count = 7,
    decode: Sizes = "1,4",
    new_tokens: Count = 64,
    random_weights: Random = False,
    device: Device = None,
    dtype: Dtype = None,
    no_train: NoTrain = False,
    cache: Cache = False,
    data: Data = False,
    workers: Workers = None,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Measure step time, memory and decoding of recipes and of the LM alone, in one run."""
    from mmadapt.bench import Options, Workload, bench, growth, growth_table, table
    from mmadapt.recipe import load_and_resolve

    files, overrides = recipes_and_overrides(recipes, "measure")
    resolved = [load_and_resolve(file, overrides, allow_code=allow_code) for file in files]
    if cache:
        _cache(resolved, rounds, as_json, allow_code)
        return
    if data:
        _data(resolved, _numbers("--workers", workers, 0), rounds, as_json, allow_code)
        return
    report: list[dict[str, Any]] = []
    counts: list[int | None] = [*dict.fromkeys(_numbers("--items", items))]
    measured = {}
    for count in counts or [None]:
        options = Options(
            Workload(batch_size, text_tokens, labelled_tokens, count, new_tokens),
            tuple(name.strip() for name in against.split(",") if name.strip()),
            rounds,
            tuple(_numbers("--decode", decode)),
            random_weights,
            device,
            dtype,
            not no_train,
        )
        results = bench(resolved, options, progress=not as_json)
        report += [{**result.to_dict(), "items": count} for result in results]
        measured[count or 0] = results
        if not as_json:
            if count is not None:
                typer.echo(f"{count} items")
            typer.echo(table(results))
    grown = growth(measured)
    if as_json:
        by_name = {row.name: row.to_dict() for row in grown}
        known = [row | {"growth": by_name[row["name"]]} for row in report] if grown else report
        typer.echo(json.dumps(known, indent=2))
    elif grown:
        typer.echo("\n" + growth_table(grown))


def _cache(resolved: list[Any], rounds: int, as_json: bool, allow_code: bool) -> None:
    """Measure recipes with their own media."""
    from mmadapt.bench.epochs import bench_cache, epoch_table
    from mmadapt.quiet import quiet_transformers

    report = {}
    for recipe in resolved:
        with quiet_transformers():
            rows = bench_cache(recipe, rounds=rounds, allow_code=allow_code, progress=not as_json)
        report[recipe.recipe.name] = [row.to_dict() for row in rows]
        if not as_json:
            typer.echo(f"{recipe.recipe.name}\n{epoch_table(rows)}")
    if as_json:
        typer.echo(json.dumps(report, indent=2))


def _data(
    resolved: list[Any], workers: list[int], steps: int, as_json: bool, allow_code: bool
) -> None:
    """Measure how fast the media of recipes come."""
    from mmadapt.bench.loading import bench_data, loading_text
    from mmadapt.quiet import quiet_transformers

    report = []
    for recipe in resolved:
        with quiet_transformers():
            found = bench_data(recipe, workers=workers, steps=steps, allow_code=allow_code)
        report.append(found.to_dict())
        if not as_json:
            typer.echo(loading_text(found))
    if as_json:
        typer.echo(json.dumps(report, indent=2))


def _numbers(option: str, text: str | None, least: int = 1) -> list[int]:
    from mmadapt.errors import RecipeError

    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if not all(word.isdecimal() and int(word) >= least for word in words):
        raise RecipeError(f"{option} {text}: must be whole numbers from {least} on, such as 1,4")
    return [int(word) for word in words]
