import math
import time

import pytest

from mmadapt.errors import RecipeError
from mmadapt.recipe.node import MAX_DEPTH, find, plain
from mmadapt.recipe.text import parse


def message(text):
    with pytest.raises(RecipeError) as error:
        parse(text, "r.yaml")
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9e-3", 0.009),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("no", "no"),
        ("on", "on"),
        ("32:40", "32:40"),
        ("2001-12-14", "2001-12-14"),
        ("'12'", "12"),
        ('"null"', "null"),
        ("1_000", "1_000"),
        ("0x", "0x"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    result = plain(parse(f"a: {text}", "r.yaml"))["a"]
    assert result == value
    assert type(result) is type(value)


def test_nan_is_a_number():
    assert math.isnan(plain(parse("a: .nan", "r.yaml"))["a"])


def test_places_of_keys_and_values():
    node = parse("a: 1\nb:\n  - x\n  - {c: y}\n", "r.yaml")
    value = find(node, ("b", 1, "c"))
    assert (value.place.line, value.place.column) == (4, 9)
    assert (value.key.line, value.key.column) == (4, 6)
    item = find(node, ("b", 0))
    assert (item.place.line, item.place.column) == (3, 5)


def test_merge_keys_give_what_is_not_written_and_keep_its_place():
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {x: 5, <<: [*a, *b]}\nd:\n  <<: *b\n  w: 6\n"
    node = parse(text, "r.yaml")
    assert plain(node)["c"] == {"x": 5, "y": 2, "z": 4}
    assert plain(node)["d"] == {"y": 3, "z": 4, "w": 6}
    assert (find(node, ("c", "z")).place.line, find(node, ("c", "z")).key.column) == (2, 14)
    assert plain(parse("'<<': {x: 1}", "r.yaml")) == {"<<": {"x": 1}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "r.yaml:3:1: the key 'a' is written twice (first on line 1)"),
        ("a: !!python/object:os.system x", "r.yaml:1:4: tags are not allowed"),
        ("a: !mine x", "r.yaml:1:4: tags are not allowed ('!mine')"),
        ("!!str a: x", "r.yaml:1:1: tags are not allowed"),
        ("a: &x 1\nc:\n  <<: *x\n", "r.yaml:3:3: '<<' takes a mapping or a list of them"),
        ("a: &x {b: 1}\nc: {<<: [*x, 2]}\n", "r.yaml:2:5: '<<' takes a mapping or a list"),
        ("a: *x", "r.yaml:1:4: the alias '*x' has no anchor before it"),
        ("a: &x [*x]", "r.yaml:1:8: the alias '*x' has no anchor before it"),
        ("a: 1\n---\nb: 2\n", "r.yaml:2:1: a second document begins here"),
        ("? [a]\n: 1\n", "r.yaml:1:3: a key must be text"),
        ("a: {use: caption, {use: x}}", "r.yaml:1:19: a key must be text; close each '{' and '['"),
        ("'': 1", "r.yaml:1:1: a key is empty"),
        ("a: [1, 2", "r.yaml:1:9: not valid YAML"),
        ("a: b: c", "r.yaml:1:5: not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("a: '\ud800'", "not valid YAML"),
    ],
)
def test_what_a_recipe_may_not_hold(text, expected):
    assert expected in message(text)


def test_an_alias_repeats_its_anchor():
    node = parse("a: &x {b: 1}\nc: *x\n", "r.yaml")
    assert plain(node) == {"a": {"b": 1}, "c": {"b": 1}}
    assert find(node, ("c",)).key.line == 2


def test_an_empty_document_is_null():
    assert plain(parse("# nothing\n", "r.yaml")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 100_000, f"nested deeper than {MAX_DEPTH} levels"),
        ("\n".join("  " * i + "a:" for i in range(100)), "nested deeper"),
        (
            "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
            + "\n".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)),
            "values; a recipe is small",
        ),
        (
            "a0: &a0 [x]\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 60)),
            "nested deeper",
        ),
        ("a: [" + "x," * 400_000 + "]", "values; a recipe is small"),
    ],
)
def test_bombs_are_refused_at_once(text, expected):
    start = time.perf_counter()
    assert expected in message(text)
    assert time.perf_counter() - start < 1


def test_a_long_number_stays_text():
    assert plain(parse("a: " + "9" * 5000, "r.yaml"))["a"] == math.inf
