"""WebDataset shards: tar files in which the files of one sample share a name."""

from __future__ import annotations

import glob
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mmadapt.contracts import Source
from mmadapt.errors import DataError
from mmadapt.types import Sample
from mmadapt_datasets.records import Record
from mmadapt_datasets.table import Columns, Files

TEXT = ("txt", "text", "transcript", "caption")
MAX_MEMBER = 2**31
"""Bytes of one file in a shard; a larger one is refused."""


class WebdatasetConfig(BaseModel):
    """Options of WebDataset shards.

    Args:
        shards: A tar file, or a pattern such as `train-*.tar`.
        columns: Which extension is what, e.g. `{image: jpg, target: txt}`; the fields of a `json`
            file count as columns too, by their own names.
        limit: Read only the first so many samples.
    """

    model_config = ConfigDict(extra="forbid")
    shards: str
    columns: Columns
    limit: int | None = Field(None, ge=1)


@dataclass
class Entry:
    """The files of one sample: by extension, where their bytes lie in the shard."""

    shard: Path
    name: str
    files: dict[str, tuple[int, int]] = field(default_factory=dict)


class WebdatasetSource(Source):
    """Samples in shards, read in place: nothing is unpacked, so no name in a shard is a path.

    The shards are indexed once, so that every sample can be reached and a run resumed.

    Raises:
        DataError: no shard, one that is not a tar file, or a sample that lacks a column.
    """

    Config = WebdatasetConfig
    config: WebdatasetConfig

    def __init__(self, config: WebdatasetConfig) -> None:
        super().__init__(config)
        shards = sorted(glob.glob(str(Path(config.shards).expanduser())))
        if not shards:
            raise DataError(config.shards, None, "matches no file")
        self.entries: list[Entry] = []
        for shard in shards:
            self.entries += _index(Path(shard))
        self.entries = self.entries[: config.limit]
        if not self.entries:
            raise DataError(config.shards, None, "holds no samples")
        seen: dict[str, Entry] = {}
        for entry in self.entries:
            first = seen.setdefault(entry.name, entry)
            if first is not entry:
                raise DataError(entry.shard, entry.name, f"stands in {first.shard} too")
        self[0]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        entry = self.entries[index]
        values: dict[str, Any] = {}
        with entry.shard.open("rb") as stream:
            for extension, (offset, size) in entry.files.items():
                stream.seek(offset)
                content = stream.read(size)
                if len(content) < size:
                    raise DataError(entry.shard, entry.name, f"'.{extension}' is cut short")
                found = _values(entry, extension, content)
                if twice := sorted(set(found) & (set(values) | set(entry.files) - {extension})):
                    raise DataError(entry.shard, entry.name, f"says '{twice[0]}' twice")
                values |= found
        record = Record(entry.shard, entry.name, values)
        wrong = self.config.columns.missing(list(values))
        if wrong:
            raise record.fail(wrong)
        return self.config.columns.sample(record, Files())


def _index(shard: Path) -> list[Entry]:
    entries: dict[str, Entry] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folder, _, file = member.name.rpartition("/")
                stem, _, extension = file.partition(".")
                if not member.isfile() or not stem or not extension:
                    continue
                name = f"{folder}/{stem}" if folder else stem
                if member.size > MAX_MEMBER:
                    raise DataError(shard, member.name, f"has over {MAX_MEMBER} bytes")
                entry = entries.setdefault(name, Entry(shard, name))
                if extension.lower() in entry.files:
                    raise DataError(shard, member.name, "stands there twice")
                entry.files[extension.lower()] = (member.offset_data, member.size)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DataError(shard, None, f"is not a tar file, or damaged: {error}") from error
    return list(entries.values())


def _values(entry: Entry, extension: str, content: bytes) -> dict[str, Any]:
    """What a file of a sample says: text, the fields of JSON, or its bytes."""
    last = extension.rpartition(".")[2]
    if last not in (*TEXT, "json"):
        return {extension: content}
    try:
        text = content.decode("utf-8").strip()
        if last != "json":
            return {extension: text}
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(entry.shard, entry.name, f"'.{extension}' is damaged: {error}") from error
    return fields if isinstance(fields, dict) else {extension: fields}
