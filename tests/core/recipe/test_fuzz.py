"""Damaged recipes give a recipe or a RecipeError, quickly, and never another error."""

import random
import time

import pytest

from mmadapt.errors import RecipeError
from mmadapt.recipe import load_and_resolve
from tests.core.recipe.samples import RECIPE, make_registry

SNIPPETS = [
    "null", "[]", "{}", "- x", ": ", "\n", "  ", "\t", "'", '"', "&a ", "*a", "!!int ", "<<: ",
    "? ",
    "---\n", "...\n", "%YAML 1.1\n", "#", "|\n", ">\n", "\x07", "\u2028", "\ufeff", "é", "💥",
    "1e999",
    "-1", "0", "true", ".nan", ".inf", "9" * 400, "use: adem", "extends: r.yaml", "[" * 40,
    "{a: " * 40,
    "name: ", "fusion: ", "encoders: ", "train: ", "generate: ", "alpha: ", "use: ",
]  # fmt: skip


def damaged(rng):
    text = RECIPE
    for _ in range(rng.randrange(1, 5)):
        start = rng.randrange(len(text) + 1)
        stop = min(len(text), start + rng.choice([0, 0, 1, 1, 2, 5, 20, 100]))
        pick = rng.randrange(4)
        if pick == 0:
            piece = rng.choice(SNIPPETS)
        elif pick == 1:
            piece = chr(rng.randrange(1, 0x3000))
        elif pick == 2:
            piece = text[start:stop] * rng.randrange(3)
        else:
            words = text.split()
            piece = rng.choice(words)
        text = text[:start] + piece + text[stop:]
    return text


@pytest.mark.parametrize("seed", range(5))
def test_damaged_recipes(seed, tmp_path):
    rng = random.Random(seed)
    registry = make_registry()
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE)
    load_and_resolve(file, (), registry)  # imports are not what is timed below
    outcomes = set()
    for _ in range(100):
        text = damaged(rng)
        file.write_text(text, encoding="utf-8")
        start = time.perf_counter()
        try:
            resolved = load_and_resolve(file, (), registry)
            outcomes.add("recipe")
            assert resolved.recipe.to_yaml()
        except RecipeError as error:
            outcomes.add("error")
            assert error.problems
            assert all(problem.message for problem in error.problems), text
            assert str(error), text
        assert time.perf_counter() - start < 1, text
    assert outcomes == {"recipe", "error"}
