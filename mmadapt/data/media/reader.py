"""A reader process that decodes media files and can be killed when a decoder hangs or crashes."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from mmadapt.data.media import protocol

WORKER = (sys.executable, "-m", "mmadapt.data.media.worker")
START_SECONDS = 60.0
PIPE_BYTES = 2**20


class ReaderError(Exception):
    """A read that failed.

    Args:
        reason: Why, in a few words, without the file's name.
        advice: What to do next; may be empty.
        lost: The reader process was lost (killed at the time limit, or crashed), so that another
            decoder may do better; otherwise the decoders have looked at the file and refused it.
    """

    def __init__(self, reason: str, advice: str = "", lost: bool = False) -> None:
        self.reason, self.advice, self.lost = reason, advice, lost
        super().__init__(reason, advice, lost)


class Reader:
    """One reader process, started at the first read and replaced when it is lost.

    `subprocess` is used because the loader workers of `torch.utils.data` are daemonic and may not
    have children of `multiprocessing`. Threads may share a reader: reads happen one after another.

    Args:
        command: What to run; default: `mmadapt.data.media.worker`.

    Example:
        >>> reader = Reader()
        >>> header, pixels = reader.read("image", "cat.png", timeout=10.0)
        >>> reader.close()
    """

    def __init__(self, command: Sequence[str] = WORKER) -> None:
        self._command = tuple(command)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The reader process, None while there is none."""
        return self._process.pid if self._process else None

    def read(
        self, op: str, path: str, *, timeout: float, **fields: Any
    ) -> tuple[protocol.Header, np.ndarray]:
        """Asks the reader process for one file.

        Args:
            op: `image`, `audio` or `video`.
            path: The file; absolute, since the reader keeps the working directory it started in.
            timeout: Seconds that the answer may take, its start not counted.
            **fields: What else the operation wants to know; anything JSON can say.

        Returns:
            The answer's header and its array.

        Raises:
            ReaderError: the file cannot be read, took too long, or the reader process crashed.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            try:
                header, array = self._ask({"op": op, "path": path, "timeout": timeout, **fields})
            except TimeoutError:
                self._end()
                raise ReaderError(
                    f"no end after {timeout:g} s, the time limit", lost=True
                ) from None
            except (EOFError, OSError, ValueError):
                raise ReaderError(f"the decoder crashed ({self._end()})", lost=True) from None
            except BaseException:  # e.g. Ctrl-C: the unread rest would answer the next request
                self._end()
                raise
        if array is None:
            raise ReaderError(header["error"], header["advice"])
        return header, array

    def close(self) -> None:
        """Ends the reader process; a later read starts another."""
        with self._lock:
            self._end()

    def abandon(self) -> None:
        """Lets go of a reader process that belongs to the process this one was forked from."""
        if self._process is None or self._stderr is None:
            return
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                pipe.close()
        self._process.returncode = 0  # not this process's child: nothing to wait for
        self._process = None

    def _ask(self, request: protocol.Header) -> tuple[protocol.Header, np.ndarray | None]:
        assert self._process and self._process.stdin and self._stderr
        self._stderr.seek(0)  # keeps what the decoders say of one file only
        self._stderr.truncate()
        deadline = time.monotonic() + request["timeout"]
        protocol.send(self._process.stdin.fileno(), request)
        return self._receive(deadline)

    def _receive(self, deadline: float) -> tuple[protocol.Header, np.ndarray | None]:
        assert self._process and self._process.stdout
        fd = self._process.stdout.fileno()
        ready = select.poll()
        ready.register(fd, select.POLLIN)

        def fill(view: memoryview) -> None:
            while view:
                left = deadline - time.monotonic()
                if left <= 0 or not ready.poll(min(left, 1e6) * 1000):
                    raise TimeoutError
                count = os.readv(fd, [view])
                if not count:
                    raise EOFError
                view = view[count:]

        return protocol.receive(fill)

    def _start(self) -> None:
        self._end()
        home = str(Path(__file__).parents[3])  # where this very package is found
        paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._stderr = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        )
        _widen(self._process.stdout)
        try:
            self._receive(time.monotonic() + START_SECONDS)
        except (EOFError, TimeoutError) as error:
            raise ReaderError(f"the media reader did not start ({self._end()})") from error

    def _end(self) -> str:
        """Ends the process, if there is one; says how it ended and what it wrote last."""
        if self._process is None or self._stderr is None:
            return ""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)  # a crash may still be on its way
        self._process.kill()
        report = _describe(self._process.wait(), self._stderr)
        self._stderr.close()
        self._process = None
        return report


def _describe(code: int, stderr: IO[bytes]) -> str:
    end = signal.strsignal(-code) or f"signal {-code}" if code < 0 else f"exit code {code}"
    stderr.seek(0)
    lines = stderr.read()[-2000:].decode(errors="replace").strip().splitlines()
    return f"{end}: {lines[-1].strip()}" if lines and code > 0 else end


def _widen(pipe: IO[bytes] | None) -> None:
    """Fewer turns between the two processes per frame; Linux only, and best effort."""
    if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


_shared: Reader | None = None
_shared_lock = threading.Lock()
_fork_hooked = False


def shared_reader() -> Reader:
    """The reader of this process: one, made at the first call, closed when the process ends.

    A forked child (a loader worker) lets go of its parent's reader and starts its own.
    """
    global _shared, _fork_hooked
    with _shared_lock:
        if _shared is None:
            _shared = Reader()
            atexit.register(_shared.close)
        if not _fork_hooked:
            os.register_at_fork(after_in_child=_forget)
            _fork_hooked = True
        return _shared


def _forget() -> None:
    global _shared, _shared_lock
    parents, _shared = _shared, None
    _shared_lock = threading.Lock()  # another thread may have held it at the fork
    if parents is not None:
        atexit.unregister(parents.close)
        parents.abandon()
