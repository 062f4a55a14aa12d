"""Parsing JSON whose mistakes a person can act on."""

from __future__ import annotations

import json
from typing import Any


class NotJson(ValueError):
    """A text that is not JSON, or not to be trusted, and why.

    Args:
        reason: what it is or has, in a few words, with the column but not the line.
        line: where in the text, from 1; None where it has no place.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        self.reason, self.line = reason, line
        super().__init__(reason)


def parse_json(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        NotJson: it is none, an object in it has a key twice (of which only one would count), it is
            nested too deeply, or has a number of thousands of digits.

    Example:
        >>> parse_json('{"id": 1}')
        {'id': 1}
    """
    text = text.rstrip()  # so that what is missing at the end is missing on the last line
    try:
        return json.loads(text, object_pairs_hook=_object)
    except NotJson:
        raise
    except json.JSONDecodeError as error:
        if not text:
            raise NotJson("is not JSON: it is empty") from error
        where = f"column {error.colno}" + (", where it ends" if error.pos >= len(text) else "")
        raise NotJson(f"is not JSON: {error.msg} at {where}", error.lineno) from error
    except RecursionError as error:
        raise NotJson("is not JSON: it is nested too deeply") from error
    except ValueError as error:
        raise NotJson("is not JSON: a number in it is too long") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise NotJson(f"has the key '{twice}' twice in one object")
    return found
