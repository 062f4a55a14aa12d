"""pydantic's errors as problems: what stands there, what was expected, and the nearest word."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from typing_extensions import is_typeddict

from mmadapt.errors import Problem, did_you_mean
from mmadapt.recipe.node import Node, Place, Steps, child, find, plain
from mmadapt.recipe.schema import PATTERNS

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping",
    "none_required": "null",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "literal_error": "{expected}",
    "enum": "{expected}",
}
_RANGE = {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of"}
_RANGE |= {"too_short", "too_long", "finite_number", "string_too_short"}
_IN_BRACKETS = "write it in brackets"
_MAPPINGS = {"model_type", "model_attributes_type", "dataclass_type", "union_tag_invalid"}


@dataclass(frozen=True)
class _Finding:
    """A problem before those of one place are put together."""

    path: Steps
    place: Place
    what: str
    expected: str = ""
    hint: str = ""


def from_pydantic(
    error: ValidationError,
    node: Node,
    model: type[BaseModel],
    base: Steps = (),
    unknown: str = "unknown key",
    also: Iterable[str] = (),
) -> list[Problem]:
    """Translate a validation error.

    Args:
        error: What pydantic found.
        node: The tree of the whole recipe.
        model: The class that was validated.
        base: Path of the validated block in the recipe.
        unknown: How an unknown key is called, e.g. `unknown option of fusion 'adem'`.
        also: Keys that the block itself may hold beside the fields of the class.

    Returns:
        One problem per place, in the order of the text.
    """
    findings = [
        _finding(details, node, model, base, unknown, tuple(also))
        for details in error.errors(include_url=False)
    ]
    return _joined(findings)


def expected_words(words: Iterable[str], limit: int = 30) -> str:
    """Return `; expected one of a, b`, or nothing where the list is too long to read."""
    names = sorted(words)
    if len(names) > limit:
        return ""
    if len(names) < 2:
        return f"; expected {names[0]}" if names else "; expected none"
    return "; expected one of " + ", ".join(names)


def shown(value: Any, limit: int = 60) -> str:
    """Return a value as an error shows it: text in quotes, the rest as YAML writes it."""
    if isinstance(value, str):
        text = repr(value)
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _finding(
    details: Any,
    node: Node,
    model: type[BaseModel],
    base: Steps,
    unknown: str,
    also: tuple[str, ...],
) -> _Finding:
    kind, context = details["type"], details.get("ctx", {})
    path = _written_path(node, base, details["loc"], kind)
    found = find(node, path)
    if kind == "missing":
        return _Finding(path, find(node, path[:-1]).key, "missing")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        word, known = str(path[-1]), _known_keys(model, details["loc"])
        known += also if len(details["loc"]) == 1 else ()
        what = unknown + expected_words(known)
        return _Finding(path, found.key, what, hint=did_you_mean(word, known))
    value = plain(found)
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        is_key = details["loc"][-1] == "[key]"
        text = str(path[-1]) if is_key else value
        expected = PATTERNS.get(pattern, f"text that matches {pattern}")
        place = found.key if is_key else found.place
        return _Finding(path, place, f"not allowed ({shown(text)})", expected)
    if kind in _MAPPINGS:
        return _Finding(path, found.place, f"wrong type ({shown(value)})", _mapping(context))
    if kind in _EXPECTED:
        expected = _EXPECTED[kind].format(**context)
        return _Finding(
            path, found.place, _what(kind, value), expected, _hint(kind, value, expected)
        )
    message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return _Finding(path, found.place, f"{message} ({shown(value)})")


def _what(kind: str, value: Any) -> str:
    if kind in _RANGE:
        return f"out of range ({shown(value)})"
    if kind in ("literal_error", "enum"):
        return f"not allowed ({shown(value)})"
    return f"wrong type ({shown(value)})"


def _hint(kind: str, value: Any, expected: str) -> str:
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"write it in quotes: '{shown(value)}'"
    if kind == "list_type" and isinstance(value, str):
        return f"{_IN_BRACKETS}: [{value}]" if len(value) < 60 else ""
    if kind in ("literal_error", "enum") and isinstance(value, str):
        return did_you_mean(value, re.findall(r"'([^']*)'", expected))
    return ""


def _mapping(context: dict[str, Any]) -> str:
    if context.get("class_name") == "LMPart":
        return "a mapping with `model:`"
    is_part = str(context.get("class_name", "Part")).endswith("Part")
    return "a mapping with `use:`" if is_part else "a mapping"


def _written_path(node: Node, base: Steps, loc: Steps, kind: str) -> Steps:
    """Return the path of what was written; pydantic's own steps (union members) are left out."""
    path = list(base)
    current = find(node, base)
    for index, step in enumerate(loc):
        inner = child(current, step)
        is_missing = kind == "missing" and index == len(loc) - 1
        if inner is None and not is_missing:
            continue
        current = inner or current
        path.append(step)
    return tuple(path)


def _known_keys(model: type[BaseModel], loc: Steps) -> list[str]:
    """Return the keys that the block around the last step of a location may hold."""
    classes: list[Any] = [model]
    for step in loc[:-1]:
        inner = [
            found
            for owner in classes
            if isinstance(owner, type) and issubclass(owner, BaseModel)
            for name, field in owner.model_fields.items()
            if step in (name, field.alias)
            for found in _blocks(field.annotation)
        ]
        classes = inner or classes
    keys: list[str] = []
    for owner in classes:
        if is_typeddict(owner):
            keys += owner.__annotations__
        elif issubclass(owner, BaseModel):
            keys += [field.alias or name for name, field in owner.model_fields.items()]
    return sorted(set(keys))


def _blocks(annotation: Any) -> list[Any]:
    """Return the models and typed dictionaries inside a type annotation."""
    if isinstance(annotation, type) and not get_args(annotation):
        is_block = is_typeddict(annotation) or issubclass(annotation, BaseModel)
        return [annotation] if is_block else []
    return [block for argument in get_args(annotation) for block in _blocks(argument)]


def _joined(findings: list[_Finding]) -> list[Problem]:
    """Put the expectations of one place together and drop what a deeper finding explains."""
    groups: dict[tuple[Steps, str], list[_Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.path, finding.what), []).append(finding)
    meant = {(*item.path[:-1], item.hint) for item in findings if item.path}
    problems = []
    for (path, what), group in groups.items():
        if what == "missing" and (*path[:-1], f"did you mean '{path[-1]}'?") in meant:
            continue  # it is there, misspelt
        is_explained = any(
            len(other) > len(path) and other[: len(path)] == path for other, _ in groups
        )
        if is_explained and what.startswith("wrong type"):
            continue
        words = dict.fromkeys(item.expected for item in group if item.expected)
        expected = " or ".join(words)
        hint = next((item.hint for item in group if item.hint), "")
        if len(words) > 1 and hint.startswith(_IN_BRACKETS):  # it may not be meant as a list
            hint = ""
        message = f"{what}; expected {expected}" if expected else what
        problems.append(group[0].place.problem(".".join(map(str, path)), message, hint))
    return sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
