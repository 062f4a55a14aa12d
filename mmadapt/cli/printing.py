"""How commands print what they return."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer


def print_result(result: Mapping[str, Any], as_json: bool) -> None:
    """Print a result: JSON, or one `key: value` line per number and text in it.

    Args:
        result: What a command returns; nested mappings become dotted keys.
        as_json: Print all of it as JSON.
    """
    if as_json:
        typer.echo(json.dumps(result, indent=2, default=str))
        return
    for key, value in _flat(result, ""):
        typer.echo(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")


def _flat(result: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    for key, value in result.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, str | int | float) or value is None:
            lines.append((f"{prefix}{key}", value))
    return lines
