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
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # memory, where there is such
    handle, path = tempfile.mkstemp(prefix="mmadapt-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(value)
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
