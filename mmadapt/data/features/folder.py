"""The folder of cached features: its place, the sets in it, and their removal.

FOLDER/contents.sqlite                 hashes of media files
FOLDER/SET/about.json                  what the set's name stands for; touched at every use
FOLDER/SET/ab/abcd….safetensors        one entry
FOLDER/SET/part/                       entries that are being written
FOLDER/.removed-SET-PID/               a set that is being removed

A set's name is 20 hex digits; whatever else lies in the folder is not ours and left alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmadapt.errors import MMAdaptError

ABOUT, PARTS, CONTENTS = "about.json", "part", "contents.sqlite"
_OURS = re.compile(r"[0-9a-f]{20}|(\.removed-)+[0-9a-f]{20}(-[0-9]+)+")
_STALE_SECONDS = 3600.0  # a part that old is left over from a process that was killed


def cache_folder() -> Path:
    """Below `$MMADAPT_CACHE`, else below `~/.cache/mmadapt`."""
    root = os.environ.get("MMADAPT_CACHE") or Path.home() / ".cache" / "mmadapt"
    return Path(root) / "features"


@dataclass(frozen=True)
class SetInfo:
    """One set of entries on disk.

    Args:
        path: its folder.
        about: what its name stands for; empty where that cannot be read.
        entries: how many.
        nbytes: of all.
        last_used: seconds since 1970.
    """

    path: Path
    about: dict[str, Any]
    entries: int
    nbytes: int
    last_used: float

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.path.name


def sets_in(folder: Path) -> list[SetInfo]:
    """All sets, the last used first."""
    try:
        places = [
            Path(entry.path)
            for entry in os.scandir(folder)
            if _OURS.fullmatch(entry.name) and entry.is_dir()
        ]
    except OSError:
        return []
    # What was being removed when its remover was killed counts as the oldest.
    return sorted(map(_info, places), key=lambda found: (found.name[0] == ".", -found.last_used))


def used_bytes(folder: Path) -> int:
    """Bytes of all entries in the folder."""
    return sum(found.nbytes for found in sets_in(folder))


def prune(folder: Path, *, days: float | None = None, limit: int | None = None) -> list[SetInfo]:
    """Removes whole sets, those unused for the longest time first, and what killed writers left.

    A run that reads a set while it is removed computes its features again.

    Args:
        folder: of the cache.
        days: remove those not used for so many days.
        limit: then remove more until so many bytes are left at most.

    Returns:
        The sets that are gone.

    Raises:
        MMAdaptError: something cannot be removed.
    """
    left, gone = sets_in(folder), []
    while left:
        oldest = left[-1]
        old = days is not None and time.time() - oldest.last_used > days * 86400
        large = limit is not None and sum(found.nbytes for found in left) > limit
        broken = not oldest.about or oldest.name.startswith(".")
        if not (old or large or broken):
            break
        gone.append(left.pop())
    for found in gone:
        _remove(found.path)
    for found in left:
        remove_stale_parts(found.path)
    return gone


def remove_stale_parts(place: Path) -> None:
    """Removes what writers that were killed have left in a set."""
    with suppress(OSError):
        for entry in os.scandir(place / PARTS):
            with suppress(OSError):
                if time.time() - entry.stat().st_mtime > _STALE_SECONDS:
                    os.unlink(entry.path)


def _remove(place: Path) -> None:
    # Under another name first, so that no half set is ever taken for a whole one.
    doomed = place.with_name(f".removed-{place.name}-{os.getpid()}")
    try:
        os.rename(place, doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise MMAdaptError(f"{place}: cannot be removed: {error.strerror or error}") from error


def _info(place: Path) -> SetInfo:
    try:
        about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        last_used = (place / ABOUT).stat().st_mtime
    except (OSError, ValueError):
        about, last_used = {}, 0.0
    count = nbytes = 0
    for entry in _files(place):
        with suppress(OSError):
            nbytes += entry.stat().st_size
            count += entry.name.endswith(".safetensors") and not entry.name.startswith(".")
    return SetInfo(place, about if isinstance(about, dict) else {}, count, nbytes, last_used)


def _files(place: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError):
        for entry in os.scandir(place):
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry
