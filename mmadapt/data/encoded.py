"""Media that a source holds as encoded bytes, shown to processors as a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmadapt.errors import MediaError
from mmadapt.types import MediaPart


@contextmanager
def on_disk(part: MediaPart, name: str) -> Iterator[MediaPart]:
    """A part whose `value` is bytes as one with a `path`, for as long as the context lasts.

    The readers take files only: they read in a process of their own, which can be ended.

    Args:
        part: any media part; one that is not of bytes is handed through.
        name: what an error calls the bytes.

    Raises:
        MediaError: from inside, with the name in place of the temporary file's.
    """
    value = part.get("value")
    if not isinstance(value, bytes):
        yield part
        return
    path = _written(value, part["type"], name)
    try:
        shown: MediaPart = {"type": part["type"], "path": path}
        if "start" in part:
            shown["start"] = part["start"]
        if "end" in part:
            shown["end"] = part["end"]
        yield shown
    except MediaError as error:
        raise MediaError(name, error.reason, error.kind, error.advice) from error
    finally:
        with suppress(FileNotFoundError):
            Path(path).unlink()


def _written(content: bytes, kind: str, name: str) -> str:
    """A temporary file, in memory where there is room for it."""
    memory = "/dev/shm"
    folders = [memory, None] if os.access(memory, os.W_OK) else [None]
    for number, folder in enumerate(folders, start=1):
        handle, path = tempfile.mkstemp(prefix="mmadapt-", dir=folder)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            return path
        except OSError as error:
            Path(path).unlink()
            if number == len(folders):
                reason = f"{tempfile.gettempdir()} has no room for it: {error.strerror}"
                raise MediaError(name, reason, kind, "Make room, or set TMPDIR.") from error
    raise AssertionError("one folder is always tried")
