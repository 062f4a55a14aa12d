"""The reader process: waits for requests on standard input, decodes, answers on standard output.

Run as `python -m mmadapt.data.media.worker` by `reader.Reader`. It imports no torch, and each
decoder only when it is first needed. It ends when its parent does: at once, because standard input
closes, and at the latest, even with a decoder stuck in C, when the alarm of the current request
rings.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmadapt.data.media import protocol
from mmadapt.data.media.decode.errors import Unreadable

Answer = tuple[dict[str, Any], np.ndarray]
Operation = Callable[[dict[str, Any]], Answer]

OPERATIONS: Mapping[str, str] = {
    "video": "mmadapt.data.media.decode.video:read",
    "audio": "mmadapt.data.media.decode.audio:read",
    "image": "mmadapt.data.media.decode.image:read",
}
"""Name of an operation -> `module:function`, imported at its first use."""

ALARM_SLACK = 5.0
"""Seconds after its limit that a request lives on when there is no parent left to end it."""


def serve(operations: Mapping[str, str] = OPERATIONS) -> None:
    """Answers requests until standard input ends.

    Args:
        operations: Name -> `module:function`; a function takes the request and returns its answer's
            header and array.
    """
    requests, answers = _claim_pipes()
    _end_with_parent(requests)
    protocol.send(answers, {"ready": os.getpid()})
    while True:
        try:
            request, _ = protocol.receive(lambda view: _fill(requests, view))
        except EOFError:
            return
        _set_alarm(request["timeout"] + ALARM_SLACK)
        header, array = _answer(operations, request)
        _set_alarm(0)
        try:
            protocol.send(answers, header, array)
        except BrokenPipeError:
            return


def _answer(
    operations: Mapping[str, str], request: dict[str, Any]
) -> tuple[dict[str, Any], np.ndarray | None]:
    try:
        module, function = operations[request["op"]].split(":")
        operation: Operation = getattr(importlib.import_module(module), function)
        return operation(request)
    except Unreadable as error:
        return {"error": error.reason, "advice": error.advice}, None
    except MemoryError:
        return {"error": "there is not enough memory to decode it", "advice": ""}, None
    except Exception as error:  # whatever a decoder raises concerns one file, not this process
        return {"error": f"{type(error).__name__}: {error}", "advice": ""}, None


def _claim_pipes() -> tuple[int, int]:
    """Keeps the two pipes for messages: whatever a C library prints must not mix with them."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    faulthandler.enable(all_threads=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    return requests, answers


def _end_with_parent(requests: int) -> None:
    """Watches for the other end of the pipe to close while the main thread is inside a decoder."""
    if not hasattr(select, "poll"):
        return
    hangup = select.poll()
    hangup.register(requests, 0)  # no events asked for: only the hang-up is reported

    def watch() -> None:
        hangup.poll()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _set_alarm(seconds: float) -> None:
    """Has the kernel end this process: works even where C code never lets Python run again."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _fill(fd: int, view: memoryview) -> None:
    while view:
        count = os.readv(fd, [view])
        if not count:
            raise EOFError
        view = view[count:]


if __name__ == "__main__":
    serve()
    sys.exit(0)
