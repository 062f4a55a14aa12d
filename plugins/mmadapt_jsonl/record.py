"""Checking one record and turning it into a sample."""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from typing import Any, cast

from mmadapt.addresses import FETCH_FIRST, is_address
from mmadapt.errors import DataError
from mmadapt.types import MediaPart, Modality, Sample
from mmadapt_jsonl.texts import KEYS, MODALITIES, as_text, kind, media_parts, read_texts

KNOWN = {"id", "start", "end", "split", *KEYS, *MODALITIES}


class RecordReader:
    """Turns the records of one file into samples.

    Args:
        file: The file, for error messages.
        root: Folder of the media.
        allow_outside: Accept media outside `root`.
    """

    def __init__(self, file: Path, root: Path, allow_outside: bool = False) -> None:
        self.file, self.root, self.allow_outside = file, root, allow_outside
        self._real_root = os.path.realpath(root)
        self._lines: dict[str, int] = {}

    def sample(self, line: int, record: dict[str, Any]) -> Sample:
        """Checks one record.

        Args:
            line: Its line number, also its id where it has none.
            record: The parsed line.

        Raises:
            DataError: with the line and what is wrong.
        """
        texts = read_texts(record, partial(self._fail, line))
        sample = {
            "id": self._id(line, record),
            "origin": f"{self.file}:{line}",
            "media": self._media(line, record),
            "meta": {key: value for key, value in record.items() if key not in KNOWN},
            **texts,
        }
        return cast(Sample, sample)

    def _fail(self, line: int, reason: str) -> DataError:
        return DataError(self.file, line, reason)

    def _id(self, line: int, record: dict[str, Any]) -> str:
        value = record.get("id", line)
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            raise self._fail(line, f"'id' must be text or a whole number, not {kind(value)}")
        first = self._lines.setdefault(str(value), line)
        if first != line:
            raise self._fail(line, f"has the id '{value}' of line {first}; ids must differ")
        return str(value)

    def _media(self, line: int, record: dict[str, Any]) -> list[MediaPart]:
        given = [key for key in record if key in MODALITIES]
        inside = media_parts(record.get("messages") or [])
        if not given and not inside and "messages" not in record:
            reason = f"names no media; it needs one of {', '.join(MODALITIES)}"
            raise self._fail(line, f"{reason} (null where it has none)")
        parts: list[MediaPart] = []
        for key in given:
            value = record[key]
            paths = [] if value is None else value if isinstance(value, list) else [value]
            if not paths and value is not None:
                raise self._fail(line, f"'{key}' is an empty list")
            parts += [self._part(line, key, path, record) for path in paths]
        return parts + self._inside(line, inside, len(parts))

    def _inside(self, line: int, inside: list[dict[str, Any]], num_beside: int) -> list[MediaPart]:
        """The media that messages name themselves, or none where they stand beside them."""
        paths = [part.get("path", part.get(part["type"])) for part in inside]
        if all(path is None for path in paths):
            if len(paths) > num_beside:
                reason = f"has {len(paths)} media parts in its messages, but {num_beside} files"
                raise self._fail(line, reason)
            return []
        if num_beside or any(path is None for path in paths):
            reason = "must name its media either in every part of its messages or all beside them"
            raise self._fail(line, reason)
        return [
            self._part(line, part["type"], path, part)
            for part, path in zip(inside, paths, strict=True)
        ]

    def _part(self, line: int, key: str, path: Any, times: dict[str, Any]) -> MediaPart:
        part: MediaPart = {"type": cast(Modality, key), "path": self._path(line, key, path)}
        if key != "image":
            self._add_times(line, times, part)
        return part

    def _path(self, line: int, key: str, value: Any) -> str:
        path = os.path.join(self.root, as_text(value, key, partial(self._fail, line)))
        if not value or "\0" in value:
            raise self._fail(line, f"'{key}' is not a path")
        if is_address(value):
            raise self._fail(line, f"'{key}' is an address ({value[:100]}); {FETCH_FIRST}")
        real = os.path.realpath(path)
        inside = os.path.commonpath([real, self._real_root]) == self._real_root
        if not inside and not self.allow_outside:
            raise self._fail(
                line,
                f"'{key}' leads outside {self.root}: {value}; set `root`, or allow_outside: true",
            )
        if not os.path.isfile(real):
            raise self._fail(line, f"'{key}' names a file that does not exist: {path}")
        return path

    def _add_times(self, line: int, record: dict[str, Any], part: MediaPart) -> None:
        for key in ("start", "end"):
            value = record.get(key)
            if value is None:
                continue
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value) or value < 0:
                raise self._fail(line, f"'{key}' must be a number of seconds from 0, not {value!r}")
            part[key] = float(value)  # type: ignore[literal-required]
        if part.get("end", math.inf) <= part.get("start", 0.0):
            raise self._fail(line, "has an 'end' that is not after its 'start'")
