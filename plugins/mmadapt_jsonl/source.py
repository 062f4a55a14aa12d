"""The jsonl source: one JSON record a line, media as files beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mmadapt.addresses import FETCH_FIRST, is_address
from mmadapt.contracts import Source
from mmadapt.errors import DataError
from mmadapt.json_text import NotJson, parse_json
from mmadapt.types import Sample
from mmadapt_jsonl.record import RecordReader

_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")
MAX_LINE = 2**26
"""Bytes of one line; a longer one is no record."""


class JsonlConfig(BaseModel):
    """Options of the jsonl source.

    Args:
        path: The file, relative to the current folder.
        root: Folder that media paths are relative to; default: the folder of `path`.
        split: Keep the records whose `split` is this; default: all.
        expand: One sample for each caption of a record (true), one for each record with its first
            caption as target (false); default: training takes every caption, evaluation scores
            each record once against all of them.
        allow_outside: Accept media outside `root`.
    """

    model_config = ConfigDict(extra="forbid")
    path: str
    root: str | None = None
    split: str | None = None
    expand: bool | None = None
    allow_outside: bool = False


class JsonlSource(Source):
    """Reads records such as `{"video": "clips/1.mp4", "caption": "a red ball rolls"}`.

    A record holds `image`, `video` or `audio` (a path, a list of paths, or null), and one of

    - `caption` or `captions`;
    - `answer` or `answers` (a list with one entry per person, or an object of weights), with
      `question` and perhaps `choices`, of which `answer` may then be the number, from 0;
    - `label`, the name of a class, the same as `answer`;
    - `messages`: `{"role": "user", "content": "…"}` and so on, where a `content` may also be a list
      of `{"type": "text", "text": "…"}` and `{"type": "image", "path": "…"}`.

    It may hold `id`, `prompt` (the same as `question`), `start` and `end` (seconds of a clip or
    sound) and `split`; every other key goes to the sample's `meta`. The whole file is read and
    checked when the source is built, so that a mistake shows before training begins.

    Raises:
        DataError: with file, line and reason.
    """

    Config = JsonlConfig

    def __init__(self, config: JsonlConfig) -> None:
        super().__init__(config)
        if is_address(config.path):
            raise DataError(config.path, None, f"is an address; {FETCH_FIRST}")
        self.path = Path(config.path).expanduser()
        root = Path(config.root).expanduser() if config.root else self.path.parent
        if not self.path.is_file():
            reason = "is a folder" if self.path.is_dir() else "does not exist"
            raise DataError(self.path, None, f"{reason}; `path` must name a .jsonl file")
        if not root.is_dir():
            raise DataError(root, None, "does not exist; `root` must name the folder of the media")
        reader = RecordReader(self.path, root, config.allow_outside)
        self.samples = [
            sample
            for number, record in self._records()
            for sample in self._expanded(reader.sample(number, record))
        ]
        if not self.samples:
            reason = (
                f"has no record of split '{config.split}'" if config.split else "has no records"
            )
            raise DataError(self.path, None, reason)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Line number and record of every line of the wanted split."""
        for number, line in self._lines():
            if not line.strip():
                continue
            try:
                record = parse_json(line)
            except NotJson as error:
                raise DataError(self.path, number, str(error)) from error
            if _ESCAPED.search(line) and _is_broken(record):
                raise DataError(self.path, number, "holds half a character, such as \\ud800")
            if not isinstance(record, dict):
                raise DataError(self.path, number, "is not a record: write {…} on every line")
            if self.config.split is None or record.get("split") == self.config.split:
                yield number, record

    def _lines(self) -> Iterator[tuple[int, str]]:
        number = 1
        try:
            with self.path.open("rb") as stream:
                lines = iter(lambda: stream.readline(MAX_LINE + 1), b"")
                for number, line in enumerate(lines, start=1):
                    if len(line) > MAX_LINE:
                        raise DataError(self.path, number, f"has over {MAX_LINE} bytes")
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(self.path, number, "is not UTF-8 text") from error
        except OSError as error:
            raise DataError(
                self.path, None, f"cannot be read: {error.strerror or error}"
            ) from error

    def _expanded(self, sample: Sample) -> list[Sample]:
        """Applies `expand`."""
        references = sample.get("references") or []
        if self.config.expand is None or len(references) < 2 or sample.get("answers"):
            return [sample]
        if not self.config.expand:
            return [{**sample, "target": references[0]}]
        return [
            {**sample, "id": f"{sample['id']}#{number}", "target": text, "references": [text]}
            for number, text in enumerate(references)
        ]


def _is_broken(value: Any) -> bool:
    """Whether a text in it has a surrogate alone, which no file and no tokenizer can hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
