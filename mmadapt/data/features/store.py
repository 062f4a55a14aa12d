"""Entries in the folder: written whole or not at all, checked when they are read, up to a size."""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mmadapt.data.features.entry import DamagedEntry, Entry, entry_bytes, read_entry
from mmadapt.data.features.folder import ABOUT, PARTS, remove_stale_parts, used_bytes
from mmadapt.errors import MMAdaptError
from mmadapt.types import Features

RESERVE = 1024**3  # bytes of the disk that are left to others
_RECOUNT = 1 / 50  # of the limit, after which what other processes wrote is counted too


class FeatureStore:
    """The entries of all sets, shared by any number of processes.

    A full store, or a full disk, is said once; from then on nothing is added, and nothing that is
    there is dropped: in shuffled epochs every entry is needed equally often. `prune` makes room.

    Args:
        folder: of the cache.
        limit: bytes that all sets together may take, to within a fiftieth.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self.added = 0
        self._closed = False
        self._used: int | None = None
        self._since = 0
        self._checked: set[tuple[str, str]] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "limit": self.limit}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["folder"], state["limit"])  # type: ignore[misc]

    @property
    def is_closed(self) -> bool:
        """Whether nothing is added any more."""
        return self._closed

    def path(self, name: str, content: str) -> Path:
        """Where the entry of a set lies."""
        return self.folder / name / content[:2] / f"{content}.safetensors"

    def open_set(self, name: str, about: Mapping[str, Any]) -> None:
        """Makes a set's folder, or notes that it is used.

        Raises:
            MMAdaptError: it cannot be made.
        """
        place = self.folder / name
        try:
            (place / PARTS).mkdir(parents=True, exist_ok=True)
            if not (place / ABOUT).exists():
                self._write(place, place / ABOUT, json.dumps(about, indent=2).encode())
            os.utime(place / ABOUT)
        except OSError as error:
            if not place.is_dir() or not os.access(place, os.R_OK):
                raise MMAdaptError(
                    f"{place}: cannot be written: {error.strerror or error}; set MMADAPT_CACHE to "
                    "a folder that can, or data.cache: false"
                ) from error
        remove_stale_parts(place)

    def has(self, name: str, content: str) -> bool:
        """Whether there is an entry."""
        return self.path(name, content).exists()

    def get(self, name: str, content: str) -> Entry | None:
        """An entry, its checksum compared the first time; one that is damaged is removed."""
        path, key = self.path(name, content), (name, content)
        try:
            entry = read_entry(path, check=key not in self._checked)
        except FileNotFoundError:
            return None
        except DamagedEntry as error:
            tqdm.write(f"{path}: damaged ({error}); it is made again", file=sys.stderr)
            with suppress(OSError):
                path.unlink()
            return None
        self._checked.add(key)
        return entry

    def put(
        self,
        name: str,
        content: str,
        features: Features,
        counts: Sequence[int],
        dtype: torch.dtype | None = None,
    ) -> bool:
        """Adds an entry; returns whether it is there and can be read.

        Args:
            name: of the set, which was opened.
            content: names the sample's media.
            features: of b = 1.
            counts: items of each of its files.
            dtype: to keep the levels in; None keeps their own.
        """
        if self._closed:
            return False
        if self.has(name, content):
            return self._is_readable(name, content)
        data = entry_bytes(features, counts, dtype)
        if not self._has_room(len(data)):
            return False
        path = self.path(name, content)
        try:
            path.parent.mkdir(exist_ok=True)
            self._write(self.folder / name, path, data)
        except OSError as error:
            self._close(f"{self.folder}: {error.strerror or error}")
            return False
        self.added += 1
        return True

    def _is_readable(self, name: str, content: str) -> bool:
        """Whether an entry that another process made, or another user, is one for this one too."""
        try:
            read_entry(self.path(name, content), check=(name, content) not in self._checked)
        except (DamagedEntry, FileNotFoundError):
            return False
        self._checked.add((name, content))
        return True

    @staticmethod
    def _write(place: Path, path: Path, data: bytes) -> None:
        """Writes a file of a set under a name of its own first."""
        part = place / PARTS / uuid.uuid4().hex
        # As readable for others as the umask says: a folder may be shared.
        handle = os.open(
            part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise

    def _has_room(self, nbytes: int) -> bool:
        if self._used is None or self._since > self.limit * _RECOUNT:
            self._used, self._since = used_bytes(self.folder), 0
        if self._used + nbytes > self.limit:
            self._close(
                f"{self.folder} has reached its limit of {self.limit / 2**30:.3g} GiB; `mmadapt "
                "cache --prune` makes room, data.cache_gib raises the limit"
            )
        elif shutil.disk_usage(self.folder).free < nbytes + RESERVE:
            self._close(f"{self.folder}: less than {RESERVE / 2**30:.3g} GiB of the disk is free")
        self._used += nbytes
        self._since += nbytes
        return not self._closed

    def _close(self, reason: str) -> None:
        self._closed = True
        text = f"feature cache: {reason}. What is not in it is computed every time."
        tqdm.write(text, file=sys.stderr)
