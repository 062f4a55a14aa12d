"""What names a media file: a hash of its content, remembered so that it is read once only."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmadapt.types import MediaPart

_FRESH_SECONDS = 2.0  # a file that young may change again within one tick of its clock
_BATCH, _WAIT_SECONDS = 64, 1.0  # new hashes, or time, after which they are written together
Stamp = tuple[int, int, int]  # size, time of modification, time of change


class Contents:
    """Hashes of media files by path, in memory and in a small database.

    A file is hashed anew when its size or one of its times is another. The database is shared by
    processes; where it cannot be used, files are hashed once in every process.

    Args:
        file: of the database; None keeps hashes in memory only.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._known: dict[str, tuple[Stamp, str]] = {}
        self._new: dict[str, tuple[Stamp, str]] = {}
        self._saved = time.monotonic()
        self._opened: tuple[int, sqlite3.Connection] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self.file}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["file"])  # type: ignore[misc]

    def of(self, part: MediaPart, *, read: bool = True) -> str | None:
        """The hash of a part's content; None where it is neither a file nor bytes.

        Args:
            part: of a sample.
            read: hash what is not known yet; otherwise that is None too.
        """
        value = part.get("value")
        if isinstance(value, bytes):
            return hashlib.sha256(value).hexdigest()
        path = part.get("path")
        if path is None:
            return None
        try:
            path = os.path.abspath(path)
            found = os.stat(path)
            stamp = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            return self._remembered(path, stamp) or (self._hashed(path, stamp) if read else None)
        except (OSError, ValueError):
            return None  # whoever reads it says what is wrong with it

    def save(self) -> None:
        """Writes new hashes to the database."""
        new, self._new, self._saved = self._new, {}, time.monotonic()
        rows = [(path, *stamp, value) for path, (stamp, value) in new.items()]
        database = self._database() if rows else None
        if database is not None:
            with suppress(sqlite3.Error), database:
                database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)

    def _remembered(self, path: str, stamp: Stamp) -> str | None:
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        database = self._database()
        if database is None:
            return None
        query = "SELECT hash FROM files WHERE path = ? AND size = ? AND mtime = ? AND ctime = ?"
        try:
            row = database.execute(query, (path, *stamp)).fetchone()
        except sqlite3.Error:
            return None
        if row is not None:
            self._known[path] = (stamp, row[0])
        return None if row is None else str(row[0])

    def _hashed(self, path: str, stamp: Stamp) -> str:
        with open(path, "rb") as stream:
            value = hashlib.file_digest(stream, "sha256").hexdigest()
        self._known[path] = (stamp, value)
        if time.time() - max(stamp[1:]) / 1e9 > _FRESH_SECONDS:
            self._new[path] = (stamp, value)
        if len(self._new) >= _BATCH or time.monotonic() - self._saved > _WAIT_SECONDS:
            self.save()
        return value

    def _database(self) -> sqlite3.Connection | None:
        """This process's connection; one does not survive a fork."""
        if self.file is None:
            return None
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                database = sqlite3.connect(self.file, timeout=10)
                # A hash that is lost with the power is made again.
                database.execute("PRAGMA synchronous = OFF")
                database.execute(
                    "CREATE TABLE IF NOT EXISTS files "
                    "(path TEXT PRIMARY KEY, size INT, mtime INT, ctime INT, hash TEXT)"
                )
                self._opened = (os.getpid(), database)
            except (sqlite3.Error, OSError):
                self.file = None
                return None
        return self._opened[1]
