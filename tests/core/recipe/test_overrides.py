import pytest

from mmadapt.errors import RecipeError
from mmadapt.recipe.node import plain
from mmadapt.recipe.overrides import apply_overrides
from mmadapt.recipe.text import parse

TEXT = """
train: {max_steps: 5, betas: [0.9, 0.99]}
fusion: [{use: a, x: 1}, {use: b}]
head: {use: caption, prompt: hi}
none: null
"""


def after(*overrides):
    return plain(apply_overrides(parse(TEXT, "r.yaml"), overrides))


def message(override):
    with pytest.raises(RecipeError) as error:
        after(override)
    return str(error.value)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.max_steps=50", ("train", "max_steps"), 50),
        ("train.learning_rate=1e-3", ("train", "learning_rate"), 0.001),
        ("train.betas.1=0.5", ("train", "betas"), [0.9, 0.5]),
        ("fusion.1.encoders=[v, w]", ("fusion", 1), {"use": "b", "encoders": ["v", "w"]}),
        ("head.prompt=a=b", ("head", "prompt"), "a=b"),
        ("head.prompt='5'", ("head", "prompt"), "5"),
        ("new.deep.key={a: [1]}", ("new",), {"deep": {"key": {"a": [1]}}}),
        ("none.key=1", ("none",), {"key": 1}),
        ("head=null", ("none",), None),
    ],
)
def test_values(override, path, value):
    found = after(override)
    for step in path:
        found = found[step]
    assert found == value


def test_null_removes():
    assert "max_steps" not in after("train.max_steps=null")["train"]


@pytest.mark.parametrize("override", ["train.max_steps=", "train.max_steps= "])
def test_an_override_without_a_value_is_an_error_that_names_null(override):
    with pytest.raises(RecipeError) as caught:
        after(override)
    assert "has no value; write train.max_steps=null to remove the key" in str(caught.value)


def test_a_mapping_is_merged_and_the_rest_stays():
    assert after("head={prompt: ho}")["head"] == {"use": "caption", "prompt": "ho"}


def test_a_new_use_drops_the_old_options_whatever_the_order():
    for overrides in (("head.use=qa", "head.ask=x"), ("head.ask=x", "head.use=qa")):
        assert after(*overrides)["head"] == {"use": "qa", "ask": "x"}
    assert after("head.use=caption")["head"] == {"use": "caption", "prompt": "hi"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.max_steps", "override 'train.max_steps': expected key=value"),
        ("=5", "override '=5': expected key=value"),
        ("train..x=5", "expected key=value"),
        ("fusion.x=2", "fusion is a list; name an item by its number, e.g. fusion.0.x"),
        ("fusion.2.x=2", "fusion has 2 items, numbered from 0; there is no fusion.2"),
        ("train.max_steps.x=2", "train.max_steps is 5 and holds no 'x'"),
        ("head.prompt=[1", "override 'head.prompt=[1': not valid YAML"),
        ("head.prompt=!!str 1", "tags are not allowed"),
    ],
)
def test_mistakes_name_the_override(override, expected):
    assert expected in message(override)


def test_a_mistake_in_a_value_points_at_the_override(tmp_path):
    from mmadapt.recipe import load_recipe
    from tests.core.recipe.samples import RECIPE

    (tmp_path / "r.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError) as error:
        load_recipe(tmp_path / "r.yaml", ["lm.dtype=flaot16"])
    assert str(error.value) == (
        "override 'lm.dtype=flaot16': lm.dtype: not allowed ('flaot16'); expected 'auto', "
        "'float32', 'float16' or 'bfloat16'; did you mean 'float16'?"
    )
