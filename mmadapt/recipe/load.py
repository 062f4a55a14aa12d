"""From a recipe file to a `Recipe`: read, extend, override, validate."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mmadapt.errors import Problem, RecipeError, did_you_mean
from mmadapt.recipe.node import Node, Place, from_python, make, merge, plain
from mmadapt.recipe.overrides import apply_overrides
from mmadapt.recipe.problems import from_pydantic, shown
from mmadapt.recipe.schema import Recipe
from mmadapt.recipe.text import MAX_BYTES, parse
from mmadapt.redact import has_secret, redacted

MAX_CHAIN = 20
SUFFIXES = (".yaml", ".yml")
_ADAPTER = "adapter.safetensors"


def load_recipe(source: str | Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe; every mistake outside a plugin's options is reported, all at once.

    Args:
        source: A YAML file, or the same as a dictionary.
        overrides: `key=value` texts laid over it, e.g. `train.max_steps=50`.

    Returns:
        The recipe, which knows where each value was written.

    Raises:
        RecipeError: With one problem per mistake.

    Example:
        >>> from mmadapt.recipe import load_recipe
        >>> recipe = load_recipe("recipes/video_caption_adem.yaml", ["train.max_steps=50"])
    """
    recipe, problems = validate(read_node(source, overrides))
    if recipe is None:
        raise RecipeError(problems)
    return recipe


def read_node(source: str | Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> Node:
    """Read a recipe as a tree: extended and overridden, not yet validated.

    Raises:
        RecipeError: It cannot be read, is not YAML, or an override points nowhere.
    """
    if isinstance(source, Mapping):
        node = _extended(from_python(source, Place("recipe")), Path(), ())
    else:
        node = _read(Path(source), Place(str(source)), ())
    node = apply_overrides(node, overrides)
    if problems := list(_secrets(node, "")):
        raise RecipeError(problems)
    return node


def _secrets(node: Node, key: str) -> Iterator[Problem]:
    """Texts that would carry a token or a password into every run folder."""
    if isinstance(node.value, dict):
        for name, inner in node.value.items():
            yield from _secrets(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(node.value, list):
        for index, inner in enumerate(node.value):
            yield from _secrets(inner, f"{key}[{index}]")
    elif isinstance(node.value, str) and has_secret(node.value):
        place = replace(node.place, file=redacted(node.place.file))
        what = "holds a token or a password; a recipe is no place for a secret"
        yield place.problem(redacted(key), what, "run `hf auth login`, or set HF_TOKEN")


def validate(node: Node) -> tuple[Recipe | None, list[Problem]]:
    """Check a tree against the schema; the recipe is None where there are problems."""
    try:  # as JSON, whose strict rules accept a list for a tuple and text for a path
        recipe = Recipe.model_validate_json(json.dumps(plain(node)), strict=True)
    except ValidationError as error:
        return None, from_pydantic(error, node, Recipe, also=("extends",))
    recipe._node = node
    return recipe, []


def _read(path: Path, named_at: Place, chain: tuple[Path, ...]) -> Node:
    """Read one file and what it extends; `named_at` is where the file was asked for."""
    node = parse(_text(path, named_at), str(path))
    if not isinstance(node.value, dict):
        what = "is empty" if node.value is None else f"is {shown(plain(node))}"
        message = f"the recipe {what}; expected a mapping with lm, encoders, fusion, head and data"
        raise RecipeError([node.place.problem("", message)])
    return _extended(node, path.parent, (*chain, path.resolve()))


def _extended(node: Node, folder: Path, chain: tuple[Path, ...]) -> Node:
    """Lay a recipe over the one it names with `extends`."""
    named = node.value.get("extends")
    if named is None:
        return node
    if not isinstance(named.value, str) or not named.value:
        what = f"wrong type ({shown(plain(named))}); expected the path of another recipe"
        raise RecipeError([named.place.problem("extends", what)])
    if chain and (folder / _ADAPTER).exists():  # it would lead out of the adapter
        what = "a saved recipe is whole; expected none beside an adapter"
        raise RecipeError([named.place.problem("extends", what)])
    path = folder / named.value
    if path.suffix not in SUFFIXES or "\0" in named.value:  # no other file's text gets into errors
        what = f"{shown(named.value)} is no recipe; expected the path of a .yaml or .yml file"
        raise RecipeError([named.place.problem("extends", what)])
    if path.resolve() in chain:
        names = " -> ".join(item.name for item in (*chain, path))
        raise RecipeError([named.place.problem("extends", f"recipes extend in a circle: {names}")])
    if len(chain) >= MAX_CHAIN:
        message = f"more than {MAX_CHAIN} recipes extend one another"
        raise RecipeError([named.place.problem("extends", message)])
    own = {key: child for key, child in node.value.items() if key != "extends"}
    base = _read(path, named.place, chain)
    return merge(base, make(own, node.place))


def _text(path: Path, named_at: Place) -> str:
    """Read the text of a recipe file, within bounds."""
    key = "extends" if named_at.line else ""
    try:
        if path.is_dir():
            raise RecipeError([named_at.problem(key, f"'{path}' is a folder, not a recipe file")])
        if path.exists() and not path.is_file():
            raise RecipeError([named_at.problem(key, f"'{path}' is not a regular file")])
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"cannot read '{path}': {reason}"
        raise RecipeError([named_at.problem(key, message, _near(path))]) from None
    if len(data) > MAX_BYTES:
        message = f"larger than {MAX_BYTES // 1_000_000} MB; a recipe is small"
        raise RecipeError([Place(str(path), 1, 1).problem("", message)])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        place = Place(str(path), line, column)
        raise RecipeError([place.problem("", "not UTF-8 text; save it as UTF-8")]) from None


def _near(path: Path) -> str:
    """Suggest a recipe beside a path that does not exist."""
    try:
        near = [item for item in path.parent.iterdir() if item.suffix in SUFFIXES]
    except (OSError, ValueError):
        return ""
    # without the suffix, which makes any two names alike
    names = [item.name for item in near if did_you_mean(path.stem, [item.stem])]
    return did_you_mean(path.name, names)
