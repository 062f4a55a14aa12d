"""Reads a file through the reader process and turns every failure into one error that names it."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmadapt.addresses import FETCH_FIRST, is_address
from mmadapt.data.media.reader import ReaderError, shared_reader
from mmadapt.errors import MediaError

ADVICE = "Replace the file or leave it out of the data."


def read_file(
    kind: str,
    path: str | os.PathLike[str],
    *,
    timeout: float,
    backends: Sequence[str] = ("",),
    start: float | None = None,
    end: float | None = None,
    **fields: Any,
) -> tuple[dict[str, Any], np.ndarray]:
    """Has the reader process decode a file.

    Args:
        kind: `image`, `audio` or `video`.
        path: The file.
        timeout: Seconds that one attempt may take.
        backends: Decoders in the order to try. The reader process tries one after another; where it
            is lost (killed at the limit, or crashed), it is replaced and the next attempt begins
            with the second of them.
        start: First second of the wanted part.
        end: Last second of the wanted part.
        **fields: The rest of the request.

    Returns:
        The answer's header and array.

    Raises:
        MediaError: the file cannot be read.
    """
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, not {timeout}")
    check_file(kind, path)
    _check_span(kind, path, start, end)
    name = os.path.abspath(os.fspath(path))
    fields = {**fields, "start": start, "end": end}
    reasons = []
    for attempt in range(len(backends)):
        try:
            rest = list(backends[attempt:])
            return shared_reader().read(kind, name, timeout=timeout, backends=rest, **fields)
        except ReaderError as error:
            reasons.append(f"{backends[attempt]}: {error.reason}" if error.lost else error.reason)
            advice = error.advice or ADVICE
            if not error.lost:
                break
    reason = "; ".join(reason.removeprefix(": ") for reason in reasons)
    raise MediaError(path, reason, kind, advice)


def check_file(kind: str, path: str | os.PathLike[str]) -> None:
    """Refuses what is not a file with something in it, before any decoder sees it.

    Args:
        kind: `image`, `audio` or `video`, for the error.
        path: The file.

    Raises:
        MediaError: there is no such file; or it is a folder, a pipe or a device, empty, or
            forbidden.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            reason, advice = "it is a link to a file that does not exist", "Mend the link."
        else:
            reason, advice = "no such file", f"Relative paths start in {Path.cwd()}."
            if is_address(os.fspath(path)):
                reason, advice = "it is an address, not a file", f"{FETCH_FIRST.capitalize()}."
        raise MediaError(path, reason, kind, advice) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(path, reason, kind, "Correct the path.") from None
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(path, "it is a folder", kind, "Name a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(path, "it is a pipe, a socket or a device", kind, "Name a regular file.")
    if status.st_size == 0:
        raise MediaError(path, "the file is empty (0 bytes)", kind, "Fetch or make it again.")
    if not os.access(path, os.R_OK):
        raise MediaError(path, "permission denied", kind, "Make the file readable.")


def _check_span(
    kind: str, path: str | os.PathLike[str], start: float | None, end: float | None
) -> None:
    begin = 0.0 if start is None else start
    if not 0 <= begin < math.inf or (end is not None and not end > begin):
        reason = f"start={start} and end={end} are not seconds with 0 <= start < end"
        raise MediaError(path, reason, kind, "Correct start and end in the data.")
