"""Rows of a table, whose columns a recipe maps to the parts of a sample."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import BaseModel, ConfigDict

from mmadapt.addresses import FETCH_FIRST, is_address
from mmadapt.errors import DataError, did_you_mean
from mmadapt.types import MediaPart, Modality, Sample
from mmadapt_datasets.records import Record

MODALITIES = get_args(Modality)


class Files:
    """Where files that rows name lie; without a root, rows may hold encoded bytes only.

    Args:
        root: their folder; no name leads out of it.
    """

    def __init__(self, root: str | None = None) -> None:
        self.root = None if root is None else Path(root).expanduser()
        if self.root is not None and not self.root.is_dir():
            raise DataError(self.root, None, "is not a folder; `root` must hold the media files")

    def path(self, record: Record, column: str, name: str) -> str:
        """The path of a file that a row names.

        Raises:
            DataError: there is no root, or the name leads out of it.
        """
        if is_address(name):
            raise record.fail(f"'{column}' names an address ({name[:100]}); {FETCH_FIRST}")
        if self.root is None:
            raise record.fail(f"'{column}' names the file {name!r}, not its bytes")
        path = os.path.join(self.root, name)
        inside = os.path.join(os.path.realpath(self.root), "")
        if "\0" in name or not os.path.realpath(path).startswith(inside):
            raise record.fail(f"'{column}' names {name!r}, which leads outside {self.root}")
        return path


class Columns(BaseModel):
    """Which column is what.

    Args:
        image: Pictures: encoded bytes, files, or lists of them.
        video: Clips, likewise.
        audio: Sounds, likewise.
        id: What tells samples apart; default: the row.
        prompt: The question or instruction.
        target: The text to learn, or a list of captions.
        answers: A right answer, a list of them, or the place (from 0) of the right choice.
        choices: The choices of a multiple-choice question.
        messages: A conversation, a list of `{role, content}`.
    """

    model_config = ConfigDict(extra="forbid")
    image: str | list[str] | None = None
    video: str | list[str] | None = None
    audio: str | list[str] | None = None
    id: str | None = None
    prompt: str | None = None
    target: str | None = None
    answers: str | None = None
    choices: str | None = None
    messages: str | None = None

    def missing(self, known: list[str]) -> str | None:
        """What is wrong where a column is not among those that are there; None if nothing is."""
        for key, names in self.model_dump(exclude_none=True).items():
            for name in [names] if isinstance(names, str) else names:
                if name not in known:
                    near = did_you_mean(name, known)
                    return f"has no column '{name}' (columns.{key}); it has {', '.join(known)}" + (
                        f"; {near}" if near else ""
                    )
        return None

    def sample(self, record: Record, files: Files) -> Sample:
        """The sample of one row.

        Args:
            record: the row.
            files: where files lie that it names.

        Raises:
            DataError: a value is not what the column should hold.
        """
        media = self._media(record, files)
        sample: Sample = {"id": record.key, "origin": record.place, "media": media}
        if self.id is not None:
            sample["id"] = record.identity(self.id)
        if self.prompt is not None:
            sample["prompt"] = record.text(self.prompt)
        if self.messages is not None:
            sample["messages"] = [turn.values for turn in record.records(self.messages)]
        if self.choices is not None:
            sample["choices"] = record.texts(self.choices)
        if self.answers is not None:
            sample["answers"] = sample["references"] = self._answers(record, sample)
        if self.target is not None:
            texts = _texts(record, self.target)
            sample["references"] = texts
            sample["target"] = texts[0] if len(texts) == 1 else None
        return sample

    def _answers(self, record: Record, sample: Sample) -> list[str]:
        name, choices = cast(str, self.answers), sample.get("choices")
        value = record.values.get(name)
        if choices and isinstance(value, int) and not isinstance(value, bool):
            if not 0 <= value < len(choices):
                raise record.fail(f"'{name}' is {value}, but there are {len(choices)} choices")
            return [choices[value]]
        return _texts(record, name)

    def _media(self, record: Record, files: Files) -> list[MediaPart]:
        parts: list[MediaPart] = []
        for modality in MODALITIES:
            names = getattr(self, modality) or []
            for name in [names] if isinstance(names, str) else names:
                value = record.values.get(name)
                for one in value if isinstance(value, list) else [value]:
                    if one is not None:
                        parts.append(_part(record, name, modality, one, files))
        return parts


def _texts(record: Record, name: str) -> list[str]:
    if isinstance(record.values.get(name), list):
        return record.texts(name)
    return [record.text(name)]


def _part(record: Record, name: str, modality: Modality, value: Any, files: Files) -> MediaPart:
    """A media part of encoded bytes, or of a file."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return {"type": modality, "value": value}
    if isinstance(value, str) and value:
        return {"type": modality, "path": files.path(record, name, value)}
    raise record.fail(f"'{name}' holds neither encoded bytes nor the name of a file")
