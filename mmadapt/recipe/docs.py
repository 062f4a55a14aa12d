"""What docstrings say of options, in the form that editors show."""

from __future__ import annotations

import inspect
import re
from typing import Any

_SECTION = re.compile(r"^(Args|Attributes|Parameters|\*\*Parameters\*\*):?\s*$", re.MULTILINE)
_NEXT = re.compile(r"^(Returns|Raises|Example|Examples|Yields):?\s*$", re.MULTILINE)
_ENTRY = re.compile(r"^(?P<name>\w+) ?(?P<kind>\(.*?\))?:[ \t]*(?P<rest>.*)$")


def summary(cls: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    text = _dedented(vars(cls).get("__doc__") or "")
    return " ".join(text.split("\n\n")[0].split())


def options(cls: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each option.

    Args:
        cls: A class whose docstring has `Args:`, `Attributes:` or `Parameters:`, of this project's
            or of transformers' form.

    Returns:
        By name one line of text.

    Example:
        >>> class Config:
        ...     '''Options.
        ...
        ...     Args:
        ...         alpha: Scale of what
        ...             is added.
        ...     '''
        >>> options(Config)
        {'alpha': 'Scale of what is added.'}
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        text = _dedented(vars(base).get("__doc__") or "")
        start = _SECTION.search(text)
        if start:
            body = text[start.end() :]
            end = _NEXT.search(body)
            found |= _entries(body[: end.start()] if end else body)
    return found


def _entries(body: str) -> dict[str, str]:
    """The entries of a section, each a name and the lines that are indented more."""
    entries: dict[str, list[str]] = {}
    lines: list[str] = []
    indents = [len(line) - len(line.lstrip()) for line in body.splitlines() if line.strip()]
    first = min(indents, default=0)
    for line in body.splitlines():
        text = line.strip()
        entry = _ENTRY.match(text) if len(line) - len(line.lstrip()) == first else None
        if entry:
            lines = entries.setdefault(entry["name"], [])
            lines.append(entry["rest"])
        elif text and len(line) - len(line.lstrip()) > first:
            lines.append(text)
    return {name: " ".join(part for part in parts if part) for name, parts in entries.items()}


def _dedented(text: str) -> str:
    return inspect.cleandoc(text)
