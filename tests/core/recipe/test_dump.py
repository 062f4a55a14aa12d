import random

import pytest

from mmadapt.recipe import load_recipe
from tests.core.recipe.samples import RECIPE


@pytest.fixture
def reread(tmp_path):
    def reread(recipe):
        recipe.dump(tmp_path / "out.yaml")
        return load_recipe(tmp_path / "out.yaml")

    return reread


def recipe_with(options):
    return load_recipe(
        {
            "name": "d",
            "lm": {"model": "m"},
            "encoders": {"v": {"use": "frames"}},
            "fusion": {"use": "adem"},
            "head": {"use": "caption", "options": options},
        }
    )


def test_a_dumped_recipe_reads_back_equal(tmp_path, reread):
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "r.yaml", ["evaluate.blind=[removed]", "lm.dropout=true"])
    assert reread(recipe) == recipe
    assert recipe != load_recipe(tmp_path / "r.yaml")


def test_defaults_are_filled_and_absent_keys_left_out():
    text = recipe_with({}).to_yaml()
    assert "dtype: auto" in text
    assert "batch_size: 32" in text
    assert "revision" not in text
    assert "departures" not in text and "generate" not in text  # empty by default
    assert [line for line in text.splitlines() if line[0] != " "][:3] == [
        "name: d",
        "lm:",
        "encoders:",
    ]


@pytest.mark.parametrize(
    "value",
    ["1e-3", "yes", "no", "null", "", "~", "0x10", "12", "-.inf", "32:40", "a: b", "# c", "é\n ü ",
     " x", "'q'", '"', "-", "*a", "&a", "!t", "%", "@", "a\tb", "\u2028", "1_0", "<<", "=",
     1e-5, 1e300, -0.0, 3, True, None, float("inf"), [], {}, [[]], [None, "5"],
     {"5": {"no": "on"}}],
)  # fmt: skip
def test_every_value_survives(value, reread):
    recipe = recipe_with({"value": value})
    assert reread(recipe).head.options == {"options": {"value": value}}


def test_random_values_survive(reread):
    rng = random.Random(0)
    letters = "aé09eE.+-x:#'\"[]{},&*!|>%@`~ \t\n_=?ntf"

    def value(depth):
        pick = rng.randrange(7 if depth < 3 else 5)
        if pick < 2:
            return "".join(rng.choices(letters, k=rng.randrange(8)))
        if pick < 5:
            return [rng.random() * 10 ** rng.randrange(-20, 20), rng.randrange(-9, 99), None][
                pick - 2
            ]
        if pick == 5:
            return [value(depth + 1) for _ in range(rng.randrange(3))]
        return {f"k{i}": value(depth + 1) for i in range(rng.randrange(3))}

    recipe = recipe_with({f"k{i}": value(0) for i in range(300)})
    assert reread(recipe) == recipe
