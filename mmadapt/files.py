"""Result files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmadapt.errors import MMAdaptError


def prepare_output(folder: Path) -> Path:
    """Creates a folder that can be written to.

    Raises:
        MMAdaptError: it cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MMAdaptError(f"{folder}: cannot be created: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK):
        raise MMAdaptError(f"{folder}: cannot be written to; choose another with --output-dir")
    return folder


def check_writable(folder: Path) -> None:
    """Finds out, without creating anything, whether a folder can be written to.

    Raises:
        MMAdaptError: it, or the nearest folder above it that exists, cannot.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise MMAdaptError(f"{folder}: {place} is a file; choose another --output-dir")
    if not os.access(place, os.W_OK | os.X_OK):
        raise MMAdaptError(f"{folder}: {place} cannot be written to; choose another --output-dir")


def write_text(path: Path, text: str) -> None:
    """Writes a text file through a temporary name.

    Raises:
        MMAdaptError: the disk is full or the folder cannot be written to.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise MMAdaptError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON record a line."""
    lines = (json.dumps(record, ensure_ascii=False, default=str) for record in records)
    write_text(path, "".join(line + "\n" for line in lines))
