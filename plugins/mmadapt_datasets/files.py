"""Reading annotation files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmadapt.errors import DataError
from mmadapt_datasets.records import Record, Whole, kind_of

MAX_BYTES = 2**32
"""Bytes of one annotation file; larger ones are not read into memory."""


def read_json(path: str) -> tuple[Path, Any]:
    """The content of a JSON file, and its path.

    Raises:
        DataError: it does not exist, is too large, or is not JSON.
    """
    file = _file(path)
    try:
        return file, json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(file, error.lineno, f"is not JSON: {error.msg}") from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(file, None, f"cannot be read as JSON: {error}") from error


def read_object(path: str) -> Record:
    """A JSON file that holds one object."""
    file, content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(file, None, f"holds {kind_of(content)}, not an object")
    return Whole(file, content)


def read_list(path: str) -> tuple[Path, list[Record]]:
    """A JSON file that holds a list of objects, called by their places."""
    file, content = read_json(path)
    if not isinstance(content, list):
        raise DataError(file, None, f"holds {kind_of(content)}, not a list")
    return file, [Record(file, f"[{place}]", value) for place, value in enumerate(content)]


def read_csv(path: str, columns: Iterable[str]) -> tuple[Path, list[Record]]:
    """A CSV file with a header, each row called by its line.

    Raises:
        DataError: it does not exist, or lacks one of the columns.
    """
    file = _file(path)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = list(reader.fieldnames or ())
            for column in columns:
                if column not in header:
                    has = ", ".join(header) or "none"
                    raise DataError(file, 1, f"lacks the column '{column}'; it has {has}")
            return file, [Record(file, str(reader.line_num), _row(row)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(file, None, f"cannot be read as CSV: {error}") from error


def _row(row: dict[str | Any, Any]) -> dict[str, Any]:
    """Without the columns that a short row lacks."""
    return {key: value for key, value in row.items() if key is not None and value is not None}


def _file(path: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        reason = "is a folder, not a file" if file.is_dir() else "does not exist"
        raise DataError(file, None, reason)
    if file.stat().st_size > MAX_BYTES:
        raise DataError(file, None, f"has over {MAX_BYTES} bytes; split it, or use `webdataset`")
    return file
