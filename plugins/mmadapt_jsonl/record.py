"""Checking one record and turning it into a sample."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, cast, get_args

from mmadapt.errors import DataError
from mmadapt.types import MediaPart, Modality, Sample

MODALITIES: tuple[Modality, ...] = get_args(Modality)
KNOWN = {"id", "caption", "captions", "prompt", "start", "end", "split", *MODALITIES}


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
        captions = self._captions(line, record)
        sample: Sample = {
            "id": self._id(line, record),
            "target": captions[0] if len(captions) == 1 else None,
            "references": captions,
            "media": self._media(line, record),
            "meta": {key: value for key, value in record.items() if key not in KNOWN},
        }
        prompt = record.get("prompt")
        if prompt is not None:
            sample["prompt"] = self._text(line, "prompt", prompt)
        return sample

    def _fail(self, line: int, reason: str) -> DataError:
        return DataError(self.file, line, reason)

    def _text(self, line: int, key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self._fail(line, f"'{key}' must be text, not {_kind(value)}")
        return value

    def _id(self, line: int, record: dict[str, Any]) -> str:
        value = record.get("id", line)
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            raise self._fail(line, f"'id' must be text or a whole number, not {_kind(value)}")
        first = self._lines.setdefault(str(value), line)
        if first != line:
            raise self._fail(line, f"has the id '{value}' of line {first}; ids must differ")
        return str(value)

    def _captions(self, line: int, record: dict[str, Any]) -> list[str]:
        if "caption" in record and "captions" in record:
            raise self._fail(line, "has both 'caption' and 'captions'; keep one")
        if "caption" in record:
            captions = [self._text(line, "caption", record["caption"])]
        elif "captions" not in record:
            keys = ", ".join(record) or "nothing"
            raise self._fail(line, f"lacks 'caption' or 'captions'; it has {keys}")
        elif not isinstance(record["captions"], list):
            raise self._fail(line, f"'captions' must be a list, not {_kind(record['captions'])}")
        else:
            captions = [self._text(line, "captions", text) for text in record["captions"]]
        if not captions or not all(text.strip() for text in captions):
            raise self._fail(line, "has an empty caption")
        return captions

    def _media(self, line: int, record: dict[str, Any]) -> list[MediaPart]:
        given = [key for key in record if key in MODALITIES]
        if not given:
            raise self._fail(line, f"names no media; it needs one of {', '.join(MODALITIES)}")
        parts: list[MediaPart] = []
        for key in given:
            paths = record[key] if isinstance(record[key], list) else [record[key]]
            if not paths:
                raise self._fail(line, f"'{key}' is an empty list")
            for path in paths:
                part: MediaPart = {"type": cast(Modality, key), "path": self._path(line, key, path)}
                if key != "image":
                    self._add_times(line, record, part)
                parts.append(part)
        return parts

    def _path(self, line: int, key: str, value: Any) -> str:
        path = os.path.join(self.root, self._text(line, key, value))
        if not value or "\0" in value:
            raise self._fail(line, f"'{key}' is not a path")
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


def _kind(value: Any) -> str:
    """How JSON calls the type of a value."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
