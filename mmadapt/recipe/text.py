"""YAML text to a tree of nodes, read from the event stream so that every value keeps its place.

Scalars follow the YAML 1.2 core schema: `1e-3` is a number, `no` and `32:40` are text. Merge keys
(`<<`) are those of YAML 1.1. Tags, several documents and repeated keys are refused; size, depth and
alias expansion are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from mmadapt.errors import RecipeError
from mmadapt.recipe.node import MAX_DEPTH, MAX_NODES, Node, Place, at, make

MAX_BYTES = 1_000_000
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?\.(inf|Inf|INF))|\.(nan|NaN|NAN)")
_MAX_DIGITS = 400


def parse(text: str, file: str, has_lines: bool = True) -> Node:
    """Read one YAML document.

    Args:
        text: The document.
        file: Its name in error messages.
        has_lines: Whether errors give line and column (not for a command-line override).

    Raises:
        RecipeError: The text is not YAML, or uses what a recipe may not hold.
    """
    return _Reader(text, file, has_lines).document()


def scalar(text: str) -> Any:
    """Return what an unquoted scalar means: text, a number, bool or None."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text) and len(text) < _MAX_DIGITS:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


class _Reader:
    """Turns the events of one document into nodes."""

    def __init__(self, text: str, file: str, has_lines: bool) -> None:
        self.text, self.file, self.has_lines = text, file, has_lines
        self.anchors: dict[str, Node] = {}
        self.events: Iterator[Any] = iter(())
        self.depth = self.count = 0

    def document(self) -> Node:
        start = Place(self.file, *((1, 1) if self.has_lines else (0, 0)))
        try:
            self.text.encode("utf-8")
            self.events = yaml.parse(self.text, Loader=LOADER)
            next(self.events)  # stream start
            if isinstance(next(self.events), yaml.StreamEndEvent):
                return Node(None, start)
            root = self.node(next(self.events))
            next(self.events)  # document end
            after = next(self.events)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = self.inside(self.place(mark)) if mark else start
            what = ", ".join(part for part in (error.context, error.problem) if part)
            raise RecipeError([place.problem("", f"not valid YAML: {what}")]) from error
        except (yaml.YAMLError, UnicodeEncodeError) as error:
            what = str(error).splitlines()[0]
            raise RecipeError([start.problem("", f"not valid YAML: {what}")]) from error
        if not isinstance(after, yaml.StreamEndEvent):
            self.refuse(after, "a second document begins here; a recipe is one document")
        return root

    def node(self, event: Any) -> Node:
        """Read the node that begins with this event."""
        if isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            if anchor not in self.anchors:
                self.refuse(event, f"the alias '*{anchor}' has no anchor before it")
            return self.anchors[anchor]
        place = self.place(event.start_mark)
        if event.tag is not None:
            self.refuse(event, f"tags are not allowed ('{event.tag}')")
        self.depth += 1
        self.count += 1
        if self.depth > MAX_DEPTH:
            self.refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        if self.count > MAX_NODES:
            self.refuse(event, f"more than {MAX_NODES} values; a recipe is small")
        if isinstance(event, yaml.ScalarEvent):
            node = make(scalar(event.value) if event.implicit[0] else event.value, place)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = make(self.items(), place)
        else:
            node = make(self.mapping(), place)
        self.depth -= 1
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def items(self) -> list[Node]:
        """Read the items of a list up to its end."""
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event))
        return items

    def mapping(self) -> dict[str, Node]:
        """Read keys and values of a mapping up to its end."""
        found: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if _is_merge(event):
                for node in self.merged(event):
                    merged = {**node.value, **merged}  # of several, the first one counts
                continue
            key = self.key(event)
            place = self.place(event.start_mark)
            if key in found:
                line = found[key].key.line
                self.refuse(event, f"the key '{key}' is written twice (first on line {line})")
            found[key] = at(self.node(next(self.events)), place)
        return {**merged, **found}

    def merged(self, event: Any) -> list[Node]:
        """Read what a merge key names: a mapping, or several."""
        node = self.node(next(self.events))
        nodes = node.value if isinstance(node.value, list) else [node]
        if not all(isinstance(one.value, dict) for one in nodes):
            self.refuse(event, "'<<' takes a mapping or a list of them", "e.g. `<<: *anchor`")
        return nodes

    def key(self, event: Any) -> str:
        """Read a key, which is always text."""
        if not isinstance(event, yaml.ScalarEvent):
            hint = "close each '{' and '[' before the next key, and write text with these in quotes"
            self.refuse(event, "a key must be text", hint)
        if event.tag is not None:
            self.refuse(event, f"tags are not allowed ('{event.tag}')")
        if not event.value:
            self.refuse(event, "a key is empty")
        if event.anchor is not None:
            self.anchors[event.anchor] = Node(event.value, self.place(event.start_mark))
        return str(event.value)

    def place(self, mark: Any) -> Place:
        """Return the place of a YAML mark."""
        if not self.has_lines:
            return Place(self.file)
        return Place(self.file, mark.line + 1, mark.column + 1)

    def inside(self, place: Place) -> Place:
        """Return the place, or the end of the text where the parser looked beyond it."""
        lines = self.text.splitlines()
        if place.line <= len(lines) or not lines:
            return place
        return Place(self.file, len(lines), len(lines[-1]) + 1)

    def refuse(self, event: Any, message: str, hint: str = "") -> None:
        """Stop at this event."""
        raise RecipeError([self.place(event.start_mark).problem("", message, hint)])


def _is_merge(event: Any) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
