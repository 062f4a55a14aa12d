"""Checkpoints that are complete, and which of them an interrupted run continues from."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmadapt.adapters.files import file_digest
from mmadapt.errors import MMAdaptError
from mmadapt.files import write_json

MANIFEST = "manifest.json"
FORMAT = 1
_NAME = re.compile(r"checkpoint-(\d+)")


def begin(checkpoint: Path) -> None:
    """Makes room for a checkpoint: what a killed run left in its place is removed.

    Raises:
        MMAdaptError: it cannot be removed.
    """
    try:
        if checkpoint.exists():
            shutil.rmtree(checkpoint)
    except OSError as error:
        raise MMAdaptError(f"{checkpoint}: cannot be replaced: {error.strerror}") from error


def seal(checkpoint: Path, step: int, processes: int, resumable: bool = True) -> None:
    """Writes the manifest, last of all: every file's size and checksum. Without it none counts.

    Args:
        checkpoint: with everything in it and on disk.
        step: optimiser steps that are done.
        processes: that trained.
        resumable: it holds the optimiser's state, which `train.save_only_model` leaves out.

    Raises:
        MMAdaptError: the disk is full.
    """
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    listed = {
        path.relative_to(checkpoint).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_digest(path),
        }
        for path in files
        if path.name != MANIFEST
    }
    for path in files:
        _to_disk(path)
    about = {"format": FORMAT, "step": step, "processes": processes, "resumable": resumable}
    write_json(checkpoint / MANIFEST, {**about, "files": listed})
    _to_disk(checkpoint / MANIFEST)
    _to_disk(checkpoint)


def last_checkpoint(folder: Path, tell: Callable[[str], None] | None = None) -> Path | None:
    """The newest complete checkpoint of a run.

    Args:
        folder: of the run.
        tell: is told of each newer one that a killed run left torn.

    Returns:
        The checkpoint, or None where there is no complete one.

    Raises:
        MMAdaptError: there are only such as `save_only_model` writes, so that training could only
            start again.
    """
    without = None
    for path in all_checkpoints(folder):
        wrong = what_is_torn(path)
        if wrong is None and (read_manifest(path) or {}).get("resumable"):
            return path
        without = without or (path if wrong is None else None)
        if tell is not None and wrong is not None:
            tell(f"{path} is passed over: {wrong}")
    if without is not None:
        raise MMAdaptError(
            f"{without} lacks the optimiser's state, as train.save_only_model writes it, so "
            "training cannot continue from there; delete the run's checkpoints to start it again, "
            "or choose another --output-dir"
        )
    return None


def all_checkpoints(folder: Path) -> list[Path]:
    """Complete and torn ones, the newest first."""
    found = [
        (int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def what_is_torn(checkpoint: Path) -> str | None:
    """What a checkpoint lacks, or None where all is as its manifest says."""
    manifest = read_manifest(checkpoint)
    if manifest is None:
        return f"it has no {MANIFEST}, so it was not completed"
    for name, told in manifest["files"].items():
        path = checkpoint / name
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(checkpoint)):
            return f"{name} is a link that leads out of it"
        try:
            if path.stat().st_size != told["bytes"] or file_digest(path) != told["sha256"]:
                return f"{name} is not what was written"
        except OSError:
            return f"it lacks {name}"
    return None


def is_begun_only(checkpoint: Path) -> bool:
    """Whether a checkpoint was never completed: it is a folder without a manifest."""
    return checkpoint.is_dir() and not (checkpoint / MANIFEST).exists()


def read_manifest(checkpoint: Path) -> dict[str, Any] | None:
    """The manifest, or None where there is none that can be read; its names stay in the folder."""
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        names = [Path(name) for name in manifest["files"]]
        told = [(file["bytes"], file["sha256"]) for file in manifest["files"].values()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    strays = any(name.is_absolute() or ".." in name.parts for name in names)
    return None if strays or not told or manifest.get("format") != FORMAT else manifest


def other_processes(checkpoint: Path, now: int) -> str | None:
    """What to say where another number of processes wrote a checkpoint; else None."""
    then = (read_manifest(checkpoint) or {}).get("processes")
    if then == now:
        return None
    return (
        f"{checkpoint} is of {then} processes, and there are {now} now: training goes on, but not "
        "to the same bits"
    )


def _to_disk(path: Path) -> None:
    """Waits until a file or folder would survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some file systems cannot
        pass
    finally:
        os.close(handle)
