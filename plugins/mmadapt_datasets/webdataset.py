"""WebDataset shards: tar files in which the files of one sample share a name."""

from __future__ import annotations

import glob
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mmadapt.contracts import Source, StreamedSource
from mmadapt.errors import DataError
from mmadapt.json_text import parse_json
from mmadapt.types import Sample
from mmadapt_datasets.records import Record, refuse_repeated
from mmadapt_datasets.table import Columns, Files

TEXT = ("txt", "text", "transcript", "caption")
MAX_MEMBER = 2**31
"""Bytes of one file in a shard; a larger one is refused."""
END_BYTES = 1024
"""Zeros that end a tar file."""


class WebdatasetConfig(BaseModel):
    """Options of WebDataset shards.

    Args:
        shards: A tar file, or a pattern such as `train-*.tar`.
        columns: Which extension is what, e.g. `{image: jpg, target: txt}`; the fields of a `json`
            file count as columns too, by their own names.
        limit: Read only the first so many samples.
        streaming: Read shard after shard in order, and index nothing before.
    """

    model_config = ConfigDict(extra="forbid")
    shards: str
    columns: Columns
    limit: int | None = Field(None, ge=1)
    streaming: bool = False

    def files(self) -> list[Path]:
        """The shards.

        Raises:
            DataError: there are none.
        """
        found = sorted(glob.glob(str(Path(self.shards).expanduser())))
        if not found:
            raise DataError(self.shards, None, "matches no file")
        return [Path(path) for path in found]


@dataclass
class Entry:
    """The files of one sample: by extension, where their bytes lie in the shard."""

    shard: Path
    name: str
    files: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, extension: str, place: tuple[int, int]) -> None:
        """Adds a file.

        Raises:
            DataError: the sample has one of that extension.
        """
        if extension in self.files:
            raise DataError(self.shard, f"{self.name}.{extension}", "stands there twice")
        self.files[extension] = place


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
        self.entries: list[Entry] = []
        for shard in config.files():
            self.entries += _index(shard)
        self.entries = self.entries[: config.limit]
        if not self.entries:
            raise DataError(config.shards, None, "holds no samples")
        seen: dict[str, Entry] = {}
        for entry in self.entries:
            first = seen.setdefault(entry.name, entry)
            if first is not entry:
                raise DataError(entry.shard, entry.name, f"stands in {first.shard} too")
        self[0]
        if config.columns.id is not None:
            self._refuse_repeated(config.columns.id)

    @classmethod
    def build(cls, config: WebdatasetConfig) -> Source | StreamedSource:
        """This source, or the one that streams."""
        if not config.streaming:
            return cls(config)
        from mmadapt_datasets.webdataset_stream import WebdatasetStream

        return WebdatasetStream(config)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        return sample_of(self.entries[index], self.config.columns)

    def _refuse_repeated(self, column: str) -> None:
        """Raises a DataError where two samples have one id of their own."""
        records = (Record(e.shard, e.name, _read(e, texts_only=True)) for e in self.entries)
        refuse_repeated(records, column)


def sample_of(entry: Entry, columns: Columns) -> Sample:
    """The sample of the files that share a name.

    Raises:
        DataError: one is damaged, or a column is missing.
    """
    record = Record(entry.shard, entry.name, _read(entry))
    wrong = columns.missing(list(record.values))
    if wrong:
        raise record.fail(wrong)
    return columns.sample(record, Files())


def _read(entry: Entry, texts_only: bool = False) -> dict[str, Any]:
    """What the files of a sample say, by column."""
    values: dict[str, Any] = {}
    with entry.shard.open("rb") as stream:
        for extension, (offset, size) in entry.files.items():
            if texts_only and not _is_text(extension):
                continue
            stream.seek(offset)
            content = stream.read(size)
            if len(content) < size:
                raise DataError(entry.shard, entry.name, f"'.{extension}' is cut short")
            found = _values(entry, extension, content)
            if twice := sorted(set(found) & (set(values) | set(entry.files) - {extension})):
                raise DataError(entry.shard, entry.name, f"says '{twice[0]}' twice")
            values |= found
    return values


def _index(shard: Path) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for name, extension, place in members(shard):
        entry = entries.setdefault(name, Entry(shard, name))
        entry.add(extension, place)
    return list(entries.values())


def members(shard: Path) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """The files of a shard in order: name of the sample, extension, offset and size in bytes.

    Raises:
        DataError: it is not a tar file, or damaged.
    """
    name = ""
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
                yield name, extension.lower(), (member.offset_data, member.size)
        _check_end(shard)
    except (OSError, tarfile.TarError, EOFError, RecursionError, ValueError) as error:
        where = f" after '{name}'" if name else ""
        raise DataError(shard, None, f"is not a tar file, or damaged{where}: {error}") from error


def _check_end(shard: Path) -> None:
    """Raises `EOFError` where a shard lacks its end mark, because it was cut between two files."""
    with shard.open("rb") as stream:
        stream.seek(max(0, shard.stat().st_size - END_BYTES))
        if any(stream.read()):
            raise EOFError("it has no end mark, so it was cut short")


def _is_text(extension: str) -> bool:
    return extension.rpartition(".")[2] in (*TEXT, "json")


def _values(entry: Entry, extension: str, content: bytes) -> dict[str, Any]:
    """What a file of a sample says: text, the fields of JSON, or its bytes."""
    if not _is_text(extension):
        return {extension: content}
    try:
        text = content.decode("utf-8").strip()
        if extension.rpartition(".")[2] != "json":
            return {extension: text}
        fields = parse_json(text)
    except ValueError as error:
        raise DataError(entry.shard, entry.name, f"'.{extension}' is damaged: {error}") from error
    return fields if isinstance(fields, dict) else {extension: fields}
