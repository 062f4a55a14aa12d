"""One run or evaluation in one folder at a time."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmadapt.errors import MMAdaptError

FILE = ".lock"
_HELD = {errno.EACCES, errno.EAGAIN}
_mine: set[Path] = set()  # the system does not tell the threads of one process apart


@contextmanager
def locked(folder: Path, what: str = "a run is being trained") -> Iterator[None]:
    """Keeps other runs and evaluations out of a folder.

    It is created, and removed again if it stays empty. The system gives the lock back when the
    process ends, however it ends, so none is ever stale. It is a record lock, because a lock of the
    other kind (`flock`, and with it the package filelock) passes to forked loader workers, which
    outlive a killed run by seconds. File systems and platforms without such locks let every run in.

    Args:
        folder: to be held.
        what: is done in it, for the others' error.

    Raises:
        MMAdaptError: another run or evaluation holds the folder.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / FILE).resolve()
    if path in _mine:
        raise MMAdaptError(_taken(folder, f"it is in use by process {os.getpid()}, this one"))
    told = f"{what} there by process {os.getpid()} on {socket.gethostname()}"
    descriptor = _acquire(folder, path)
    _mine.add(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, told.encode())
        yield
    finally:
        _mine.discard(path)
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def _acquire(folder: Path, path: Path) -> int:
    """An open file of `path` that this process has locked, as far as locks are supported."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _HELD:
                holder = os.read(descriptor, 200).decode(errors="replace")
                os.close(descriptor)
                raise MMAdaptError(
                    _taken(folder, holder or "it is in use by another process")
                ) from error
        with suppress(OSError):  # its last holder may have removed it in between
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _taken(folder: Path, holder: str) -> str:
    return f"{folder}: {holder}; wait for it, or choose another --output-dir"
