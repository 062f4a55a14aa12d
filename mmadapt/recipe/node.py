"""Recipe text as a tree whose every value knows where it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmadapt.errors import Problem, RecipeError

Steps = tuple[str | int, ...]
MAX_NODES = 20_000
MAX_DEPTH = 32


@dataclass(frozen=True)
class Place:
    """Where something was written; line and column are 1-based, 0 for text without lines."""

    file: str
    line: int = 0
    column: int = 0

    def problem(self, key: str, message: str, hint: str = "") -> Problem:
        """Return a problem at this place."""
        return Problem(self.file, self.line, self.column, key, message, hint)


@dataclass(frozen=True)
class Node:
    """One value: a mapping, a list or a scalar.

    Args:
        value: `dict[str, Node]`, `list[Node]`, or text, number, bool, None.
        place: Where the value begins.
        key_place: Where its key begins; None for list items and the document.
        size: Number of nodes in it, aliases expanded.
        height: Depth of the deepest node in it.
    """

    value: Any
    place: Place
    key_place: Place | None = None
    size: int = 1
    height: int = 0

    @property
    def key(self) -> Place:
        """The place of the key, or of the value where there is no key."""
        return self.key_place or self.place


def make(value: Any, place: Place, key_place: Place | None = None) -> Node:
    """Build a node and bound it.

    Args:
        value: A scalar, or a dict or list of nodes.
        place: Where it begins.
        key_place: Where its key begins.

    Raises:
        RecipeError: It is too deep, or too large once its aliases are expanded.
    """
    children = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(children, list):
        return Node(value, place, key_place)
    size = 1 + sum(child.size for child in children)
    height = 1 + max((child.height for child in children), default=0)
    if size > MAX_NODES:
        raise RecipeError([place.problem("", f"more than {MAX_NODES} values; a recipe is small")])
    if height > MAX_DEPTH:
        raise RecipeError([place.problem("", f"nested deeper than {MAX_DEPTH} levels")])
    return Node(value, place, key_place, size, height)


def plain(node: Node) -> Any:
    """Return the tree as plain dictionaries, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def child(node: Node, step: str | int) -> Node | None:
    """Return the node one step further, or None where there is none."""
    if isinstance(node.value, dict):
        return node.value.get(step)
    if isinstance(node.value, list) and isinstance(step, int) and 0 <= step < len(node.value):
        inner: Node = node.value[step]
        return inner
    return None


def find(node: Node, path: Steps) -> Node:
    """Return the node at a path, or the deepest one on the way to it."""
    for step in path:
        inner = child(node, step)
        if inner is None:
            break
        node = inner
    return node


def merge(base: Node, patch: Node) -> Node:
    """Lay a patch over a base, as RFC 7386 does: mappings merge, null removes, the rest replaces.

    A part whose `use` changes starts afresh, because its options belonged to the former one; only
    what says which part it is (`name`, `encoders`) stays.
    """
    if not isinstance(base.value, dict) or not isinstance(patch.value, dict):
        return patch
    kept = base.value
    if _use(patch) is not None and _use(base) is not None and _use(patch) != _use(base):
        kept = {key: node for key, node in kept.items() if key in ("name", "encoders")}
    merged = dict(kept)
    for key, node in patch.value.items():
        if node.value is None and key in merged:
            del merged[key]
        else:
            merged[key] = merge(merged[key], node) if key in merged else node
    written = patch if patch.place.line else base  # an override has no lines to point at
    return make(merged, written.place, written.key_place)


def from_python(value: Any, place: Place, key: str = "", depth: int = 0) -> Node:
    """Build a tree from plain Python data; tuples become lists and paths become text.

    Raises:
        RecipeError: A value has no counterpart in a recipe.
    """
    if depth > MAX_DEPTH:
        raise RecipeError([place.problem(key, f"nested deeper than {MAX_DEPTH} levels")])
    if isinstance(value, Mapping):
        items = {}
        for name, child in value.items():
            if not isinstance(name, str):
                raise RecipeError([place.problem(key, f"the key {name!r} is not text")])
            items[name] = from_python(child, place, f"{key}.{name}".lstrip("."), depth + 1)
        return make(items, place, place)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        steps = enumerate(value)
        nodes = [from_python(child, place, f"{key}.{i}", depth + 1) for i, child in steps]
        return make(nodes, place)
    if isinstance(value, Path):
        value = str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return Node(value, place)
    raise RecipeError(
        [
            place.problem(
                key,
                f"a {type(value).__name__} cannot stand in a recipe; "
                "expected text, a number, true, false, null, a list or a mapping",
            )
        ]
    )


def at(node: Node, key_place: Place) -> Node:
    """Return the node under another key (an alias is shared by several)."""
    return replace(node, key_place=key_place)


def _use(node: Node) -> Any:
    use = node.value.get("use")
    return None if use is None else use.value
