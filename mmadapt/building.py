"""Building the parts of a recipe: what goes wrong inside one is told with its place."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch import OutOfMemoryError

from mmadapt.errors import DEBUG_VARIABLE, MMAdaptError, PluginError, Problem, RecipeError
from mmadapt.plugins import first_line
from mmadapt.recipe import Recipe
from mmadapt.recipe.parts import ResolvedPart


@contextmanager
def building(recipe: Recipe, path: tuple[str | int, ...], part: ResolvedPart) -> Iterator[None]:
    """Around the call that builds a part: its errors say where the recipe asks for it.

    Args:
        recipe: the whole recipe.
        path: of the part in it, e.g. `("encoders", "image")`.
        part: the class and its options.

    Raises:
        RecipeError: from inside, with the place of the part where it had none.
        PluginError: the part's own code fails: its error, file and line.
    """
    try:
        yield
    except RecipeError as error:
        problems = [_placed(recipe, path, problem) for problem in error.problems]
        raise RecipeError(problems) from error
    except (MMAdaptError, OSError, MemoryError, OutOfMemoryError):  # no fault of its code
        raise
    except Exception as error:  # a stranger's code may raise anything
        place = _line_of(error, part)
        advice = f"{DEBUG_VARIABLE}=1 shows the traceback"
        raise PluginError(f"{part.entry}: {first_line(error)} ({place}); {advice}") from error


def fusion_path(recipe: Recipe, index: int) -> tuple[str | int, ...]:
    """Where the fusion of this number stands in a recipe, which may list one without a list."""
    return ("fusion", index) if isinstance(recipe.fusion, list) else ("fusion",)


def _placed(recipe: Recipe, path: tuple[str | int, ...], problem: Problem) -> Problem:
    if problem.line or problem.key or problem.file != "recipe":
        return problem
    return replace(recipe.problem(path, problem.message), hint=problem.hint)


def _line_of(error: Exception, part: ResolvedPart) -> str:
    """The innermost line of the part's own package, or its class where none was reached."""
    package = part.cls.__module__.partition(".")[0]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            return f"{Path(frame.f_code.co_filename).name}:{line}"
    return str(part.entry.target)
