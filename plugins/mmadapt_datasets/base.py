"""Samples made from records, and the folders of their media."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from mmadapt.addresses import FETCH_FIRST, is_address
from mmadapt.contracts import Source
from mmadapt.errors import DataError
from mmadapt.types import MediaPart, Modality, Sample
from mmadapt_datasets.records import Record


class Files(BaseModel):
    """Options of every source with media files.

    Args:
        check_files: Look before training whether every media file exists.
        allow_outside: Accept media files outside their folder (symbolic links).
        limit: Read only the first so many samples.
    """

    model_config = ConfigDict(extra="forbid")
    check_files: bool = True
    allow_outside: bool = False
    limit: int | None = Field(None, ge=1)


class Folder:
    """A folder of media files; a path from a record never leaves it.

    Args:
        root: the folder.
        modality: of the files in it.
        files: options.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: str, modality: Modality, files: Files) -> None:
        self.root, self.modality, self.files = Path(root).expanduser(), modality, files
        if not self.root.is_dir():
            raise DataError(self.root, None, f"is not a folder; it must hold the {modality} files")
        self._inside = os.path.join(os.path.realpath(self.root), "")
        self._seen: set[str] = set()

    def part(self, record: Record, name: str) -> MediaPart:
        """The media part of a file name.

        Raises:
            DataError: it leads outside the folder, or there is no such file.
        """
        path = os.path.join(self.root, name)
        if path in self._seen:
            return {"type": self.modality, "path": path}
        if is_address(name):
            raise record.fail(f"names an address ({name[:100]}); {FETCH_FIRST}")
        if "\0" in name or os.path.isabs(name) or ".." in Path(name).parts:
            raise record.fail(f"names the file {name!r}, which is not below {self.root}")
        if not self.files.allow_outside and not os.path.realpath(path).startswith(self._inside):
            raise record.fail(f"'{name}' leads outside {self.root}; or set allow_outside: true")
        if self.files.check_files and not os.path.isfile(path):
            raise record.fail(f"names a file that does not exist: {path}")
        self._seen.add(path)
        return {"type": self.modality, "path": path}


class RecordSource(Source):
    """A source whose samples are made from records in memory, one at a time.

    A subclass sets what it needs, then calls `keep`.
    """

    config: Files

    @abstractmethod
    def sample(self, record: Record) -> Sample:
        """The sample of one record, without its origin.

        Raises:
            DataError: the record cannot be used.
        """

    def keep(self, file: Path, records: Iterable[Record]) -> None:
        """Keeps the records and checks each of them once, so that mistakes show before training.

        Raises:
            DataError: a record cannot be used, two have one id, or there is none.
        """
        self.records: list[Record] = []
        places: dict[str, str] = {}
        for record in records:
            if self.config.limit is not None and len(self.records) == self.config.limit:
                break
            identity = self.sample(record)["id"]
            first = places.setdefault(identity, record.key)
            if len(places) == len(self.records):
                raise record.fail(f"has the id '{identity}' of {first}; ids must differ")
            self.records.append(record)
        if not self.records:
            raise DataError(file, None, "has no sample of what the recipe asks for")

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        record = self.records[index]
        return {**self.sample(record), "origin": record.place}
