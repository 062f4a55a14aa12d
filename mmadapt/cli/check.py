"""`mmadapt check`: find out before a GPU minute is spent whether recipes will run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

import typer

from mmadapt.cli.options import AllowCode, AsJson, recipes_and_overrides

Memory = Annotated[
    bool,
    typer.Option("--memory/--no-memory", help="Estimate what a training step takes (seconds)."),
]
Recipes = Annotated[
    list[str],
    typer.Argument(metavar="RECIPE...", help="Recipe files, and KEY=VALUE laid over each."),
]


def check(
    recipes: Recipes,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
    memory: Memory = True,
) -> None:
    """Tell what is wrong with recipes before any weights are loaded."""

    files, overrides = recipes_and_overrides(recipes, "check")
    results = [_checked(file, overrides, allow_code, memory) for file in files]
    if as_json:
        plain = [result | (_plain(result) if result["ok"] else {}) for result in results]
        typer.echo(json.dumps(plain, indent=2, default=str))
    else:
        for result in results:
            _print(result)
    if not all(result["ok"] for result in results):
        raise typer.Exit(2)


def _checked(file: str, overrides: list[str], allow_code: bool, memory: bool) -> dict[str, Any]:
    """Check one recipe; its mistakes are part of the result, so that the others are checked too."""
    from mmadapt.errors import DEBUG_VARIABLE, MMAdaptError, Problem, RecipeError
    from mmadapt.recipe import load_and_resolve

    try:
        resolved = load_and_resolve(file, overrides, allow_code=allow_code)
        from mmadapt.checking.dry_run import dry_run

        report = dry_run(resolved, allow_code=allow_code)
        estimated = None
        if memory:
            from mmadapt.checking.footprint import estimate

            estimated = estimate(resolved)
    except RecipeError as error:
        return {"recipe": file, "ok": False, "problems": [asdict(item) for item in error.problems]}
    except MMAdaptError as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        problem = Problem(file, 0, 0, "", str(error))
        return {"recipe": file, "ok": False, "problems": [asdict(problem)]}
    return {"recipe": file, "ok": True, "report": report, "memory": estimated}


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """A report and an estimate as plain data."""
    memory = result["memory"]
    return {
        "report": result["report"].to_dict(),
        "memory": asdict(memory) if is_dataclass(memory) else memory,  # type: ignore[arg-type]
    }


def _print(result: dict[str, Any]) -> None:
    from mmadapt.errors import Problem

    if result["ok"]:
        report, memory = result["report"], result["memory"]
        typer.echo(f"{result['recipe']}: {report.verdict}\n{report}")
        if isinstance(memory, str):  # why there is no estimate
            typer.echo(f"\n{report.static_memory()}\n{memory}")
        elif memory is not None:
            typer.echo(f"\n{memory}")
        return
    for problem in result["problems"]:
        typer.echo(str(Problem(**problem)), err=True)
