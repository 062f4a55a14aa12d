"""Answers on disk as they come, so that an evaluation that was cut off can go on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmadapt.contracts import Source
from mmadapt.data.items import Failed
from mmadapt.data.origin import place
from mmadapt.errors import DataError, MMAdaptError
from mmadapt.types import MediaPart, Sample

PATTERN = "answers-*.jsonl"


class Journal:
    """The answers of one evaluation, a line each, in one file for every process that gave some.

    A line holds `media` (the row), `number` and `id` of the sample, a digest of what was asked, and
    the `answer`. Samples that could not be read are not kept: they are tried again.

    Args:
        folder: where the files lie.
        key: of the settings; a file that was begun with others is an error.
        rank: of this process.

    Raises:
        MMAdaptError: a file belongs to another evaluation.
    """

    def __init__(self, folder: Path, key: str, rank: int = 0) -> None:
        self.folder, self.key = folder, key
        self.file = folder / f"answers-{rank:05d}.jsonl"
        self._known: dict[str, dict[int, dict[str, Any]]] = {}
        for file in sorted(folder.glob(PATTERN)):
            self._read(file)

    def row(self, media: str, source: Source) -> Row:
        """The part of one row.

        Args:
            media: the row.
            source: its samples, as they are asked.
        """
        return Row(self, media, source, self._known.get(media, {}))

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Appends lines to this process's file; what is written outlives the process.

        Raises:
            MMAdaptError: the disk is full, or the folder is gone.
        """
        head = [] if self.file.exists() else [{"key": self.key}]
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in (*head, *lines))
        try:
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise MMAdaptError(f"{self.file}: cannot be written: {error.strerror}") from error

    def remove(self) -> None:
        """Deletes the files, once their answers stand elsewhere."""
        for file in self.folder.glob(PATTERN):
            file.unlink(missing_ok=True)

    def _read(self, file: Path) -> None:
        whole = _whole_lines(file, mend=file == self.file)
        if not whole:
            return
        try:
            lines = [json.loads(line) for line in whole]
            key = lines[0]["key"]
            for line in lines[1:]:
                self._known.setdefault(line["media"], {})[line["number"]] = line
        except (ValueError, KeyError, TypeError) as error:
            raise MMAdaptError(
                f"{file} is damaged; remove it to answer its samples again"
            ) from error
        if key != self.key:
            raise MMAdaptError(
                f"{file} holds answers of another evaluation; choose another --output-dir"
            )


@dataclass(frozen=True)
class Row:
    """The answers of one row of an evaluation: as it is, media removed, media swapped.

    Args:
        journal: that holds them.
        media: the row.
        source: its samples, as they are asked.
        lines: of an evaluation that was cut off, by number of the sample.
    """

    journal: Journal
    media: str
    source: Source
    lines: Mapping[int, Mapping[str, Any]]

    def known(self) -> tuple[dict[int, str], list[Failed]]:
        """Answers that were given before, by number, and the samples that were cut for them.

        Raises:
            MMAdaptError: a sample is not what it was.
        """
        answers: dict[int, str] = {}
        cut: list[Failed] = []
        for number, line in sorted(self.lines.items()):
            sample = self.source[number] if number < len(self.source) else None
            if sample is None or line["sample"] != digest(sample):
                raise MMAdaptError(
                    f"{self.journal.folder}: the sample '{line['id']}' has changed since it was "
                    "answered; choose another --output-dir to evaluate anew"
                )
            answers[number] = line["answer"]
            if "cut" in line:
                said = DataError(place(sample), None, line["cut"])
                cut.append(Failed(number, line["id"], said, "truncated"))
        return answers, cut

    def add(self, answers: Mapping[int, str], failed: Iterable[Failed]) -> None:
        """Keeps the answers of a batch.

        Raises:
            MMAdaptError: they cannot be written.
        """
        cut = {one.index: one for one in failed if one.kind == "truncated"}
        lines = []
        for number, answer in answers.items():
            sample = self.source[number]
            line = {"media": self.media, "number": number, "id": sample["id"]}
            line |= {"sample": digest(sample), "answer": answer}
            if number in cut:
                line["cut"] = getattr(cut[number].error, "reason", str(cut[number].error))
            lines.append(line)
        self.journal.write(lines)


def digest(sample: Sample) -> str:
    """Names what is asked and what it is scored against, so that a change of the data shows.

    Files count by path, size and time of their last change.
    """
    media = [_media(part) for part in sample.get("media") or ()]
    told = {key: value for key, value in sample.items() if key not in ("media", "origin")}
    text = json.dumps([told, media], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _media(part: MediaPart) -> Any:
    rest: dict[str, Any] = {key: part.get(key) for key in ("type", "path", "start", "end")}
    value = part.get("value")
    if isinstance(value, bytes):
        rest["value"] = hashlib.sha256(value).hexdigest()
    path = part.get("path")
    if path is not None and os.path.isfile(path):
        status = os.stat(path)
        rest["file"] = [status.st_size, status.st_mtime_ns]
    return rest


def _whole_lines(file: Path, mend: bool) -> Sequence[str]:
    """The lines of a file but for half a line at its end, which a killed process leaves.

    Args:
        file: to read.
        mend: cut that half line off, so that the file can be appended to.
    """
    data = file.read_bytes()
    size = data.rfind(b"\n") + 1
    if mend and size == 0:
        file.unlink()
    elif mend and size < len(data):
        with file.open("rb+") as stream:
            stream.truncate(size)
    return data[:size].decode("utf-8", errors="replace").split("\n")[:-1]
