"""`key=value` on the command line: a dotted path into the recipe and a YAML value."""

from __future__ import annotations

from collections.abc import Iterable

from mmadapt.errors import RecipeError
from mmadapt.recipe.node import Node, Place, make, merge, plain
from mmadapt.recipe.problems import shown
from mmadapt.recipe.text import parse


def apply_overrides(node: Node, overrides: Iterable[str]) -> Node:
    """Lay overrides over a recipe, those of `use` first, as a changed `use` drops its options.

    Args:
        node: The recipe.
        overrides: `key=value` each; list items by index (`fusion.0.alpha=1`); null removes.

    Raises:
        RecipeError: An override is malformed or points where nothing can be.
    """
    for override in sorted(overrides, key=lambda text: not text.partition("=")[0].endswith("use")):
        key, equals, text = override.partition("=")
        place = Place(f"override '{override}'")
        steps = key.strip().split(".")
        if not equals or not all(steps):
            raise RecipeError([place.problem("", "expected key=value, e.g. train.max_steps=50")])
        if not text.strip():
            hint = f"write {key.strip()}=null to remove the key"
            raise RecipeError([place.problem("", "has no value", hint)])
        node = _put(node, steps, parse(text, place.file, has_lines=False), place, "")
    return node


def _put(node: Node, steps: list[str], value: Node, place: Place, done: str) -> Node:
    """Return the node with the value laid over what stands at the steps."""
    step, rest = steps[0], steps[1:]
    here = f"{done}.{step}".lstrip(".")
    if isinstance(node.value, list):
        index = _index(node.value, step, place, done)
        items = list(node.value)
        items[index] = _put(items[index], rest, value, place, here) if rest else value
        return make(items, node.place, node.key_place)
    if not isinstance(node.value, dict):
        what = f"{done} is {shown(plain(node))} and holds no '{step}'"
        raise RecipeError([place.problem("", what)])
    child = node.value.get(step)
    if rest and child is not None and child.value is not None:
        inner = _put(child, rest, value, place, here)
        return make(node.value | {step: inner}, node.place, node.key_place)
    for outer in reversed(rest):
        value = make({outer: value}, place, place)
    return merge(node, make({step: value}, place, place))


def _index(items: list[Node], step: str, place: Place, done: str) -> int:
    if not step.isdecimal():
        message = f"{done} is a list; name an item by its number, e.g. {done}.0.{step}"
        raise RecipeError([place.problem("", message)])
    if int(step) >= len(items):
        message = f"{done} has {len(items)} items, numbered from 0; there is no {done}.{step}"
        raise RecipeError([place.problem("", message)])
    return int(step)
