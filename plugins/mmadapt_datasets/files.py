"""Reading annotation files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmadapt.errors import DataError
from mmadapt.json_text import NotJson, parse_json
from mmadapt_datasets.records import Record, Whole, kind_of

MAX_BYTES = 2**32
"""Bytes of one annotation file; larger ones are not read into memory."""


def read_text(path: str | Path) -> tuple[Path, str]:
    """The content of a text file, and its path.

    Raises:
        DataError: it does not exist, is too large, or is not UTF-8.
    """
    file = _file(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(file, None, f"cannot be read: {error.strerror or error}") from error
    try:
        return file, content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"is not UTF-8 text (byte {error.start + 1} of the file)"
        raise DataError(file, line, reason) from error


def read_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file with their numbers from 1, one in memory at a time.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    number = 1
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(file, number, "is not UTF-8 text") from error
    except OSError as error:
        raise DataError(file, None, f"cannot be read: {error.strerror or error}") from error


def read_json(path: str | Path) -> tuple[Path, Any]:
    """The content of a JSON file, and its path.

    Raises:
        DataError: it cannot be read, or is not JSON.
    """
    file, text = read_text(path)
    try:
        return file, parse_json(text)
    except NotJson as error:
        raise DataError(file, error.line, str(error)) from error


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
        DataError: it cannot be read, lacks one of the columns, or has a row with more fields.
    """
    file, text = read_text(path)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    records = []
    try:
        header = list(reader.fieldnames or ())
        for column in columns:
            if column not in header:
                has = ", ".join(header) or "none"
                raise DataError(file, 1, f"lacks the column '{column}'; it has {has}")
        for row in reader:
            records.append(_row(file, reader.line_num, len(header), row))
    except csv.Error as error:
        raise DataError(file, reader.reader.line_num, f"is not CSV: {error}") from error
    return file, records


def _row(file: Path, line: int, width: int, row: dict[str | Any, Any]) -> Record:
    """One row, without the columns that it lacks."""
    if None in row:
        reason = f"has {width + len(row[None])} fields for {width} columns; put texts with commas"
        raise DataError(file, line, f'{reason} in "quotes"')
    return Record(file, str(line), {key: value for key, value in row.items() if value is not None})


def _file(path: str | Path) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        reason = "is a folder, not a file" if file.is_dir() else "does not exist"
        raise DataError(file, None, reason)
    if file.stat().st_size > MAX_BYTES:
        raise DataError(file, None, f"has over {MAX_BYTES} bytes; split it, or use `webdataset`")
    return file
