"""Processes that need not import torch first: forked from one that has (`forkserver`).

A command runs in a process, session and folder of its own, with its own signals, exit code and
output, as `python -m` would run it; the imports, which cost it most of its life, are shared.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from multiprocessing import get_context, set_start_method
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORTED = [
    "mmadapt.cli.app",
    "mmadapt.composition",
    "mmadapt.evaluate.adapter",
    "mmadapt.testing",
    "mmadapt.train.run",
    "mmadapt.train.trainer",
    "peft",
    "transformers.models.llama.modeling_llama",
]


class Forked:
    """A process with what tests ask of a `subprocess.Popen`.

    Args:
        words: the name of a module or a script's path, and its arguments.
        changes: of the environment.
        place: the folder to run in.
    """

    def __init__(
        self, *words: str, changes: Mapping[str, str] | None = None, place: Path = ROOT
    ) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        self._folder = tempfile.TemporaryDirectory()
        self._told = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        environment = {**os.environ, **(changes or {})}
        self._process = context.Process(
            target=_run, args=([*words], environment, place, self._told)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        weakref.finalize(self, _end, self._process)

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end.

        Raises:
            subprocess.TimeoutExpired: it has not ended.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for the end; what was written to stdout and to stderr."""
        self.wait(timeout)
        out, error = (file.read_text() if file.exists() else "" for file in self._told)
        return out, error

    def send_signal(self, number: int) -> None:
        """Sends a signal to this process alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` runs `python -m …` in the current folder, with its output as text."""
    assert command[:2] == [sys.executable, "-m"], command
    process = Forked(*command[2:], place=Path.cwd())
    out, error = process.communicate()
    return subprocess.CompletedProcess(command, process.wait(), out, error)


def ranks(
    count: int, *words: str, changes: Mapping[str, str] | None = None, place: Path = ROOT
) -> list[Forked]:
    """Processes that find each other as those of a launch by hand do, by their environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    own = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    return [
        Forked(*words, changes={**(changes or {}), **meeting, **one}, place=place) for one in own
    ]


def _end(process: BaseProcess) -> None:
    """What a failed test leaves running would keep the tests from ending."""
    if process.exitcode is None and process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _run(words: list[str], environment: dict[str, str], place: Path, told: list[Path]) -> None:
    gc.freeze()  # collecting what all processes share would copy it for each
    set_start_method("fork", force=True)  # for its own children: the default of a fresh process
    os.setsid()
    for number, file in enumerate(told, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    os.chdir(place)
    sys.path.insert(0, str(place))
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    try:
        if words[0].endswith(".py"):
            runpy.run_path(words[0], run_name="__main__")
        else:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # a forked process leaves without
