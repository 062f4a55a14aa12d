"""Being asked to stop: the step is finished, a checkpoint written, and the run ends.

`TrainingArguments.enable_jit_checkpoint` does less: it knows SIGTERM alone, waits for seconds, may
save between two batches of one step, so that a resumed run differs, and ignores a second signal.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from mmadapt.errors import Stopped
from mmadapt.ranks import any_of

# SIGUSR1 and SIGUSR2 are what `sbatch --signal` is often told to send before the time is up.
NAMES = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")
SAME_REQUEST_SECONDS = 1.0  # a terminal and a launcher may each pass one Ctrl-C on


class StopRequest:
    """Whether the run was asked to stop, by which signal; a second one ends the process at once.

    Example:
        >>> with StopRequest().heard() as stop:
        ...     stop.received is None
        True
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self.can_finish = False  # a training step is under way
        self._pid = os.getpid()
        self._at = 0.0

    @contextmanager
    def heard(self) -> Iterator[StopRequest]:
        """Listens inside the block, where this is the main thread; others never hear signals.

        Raises:
            Stopped: a signal came where no step had to be finished.
        """
        before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
            before = {number: signal.signal(number, self._hear) for number in numbers}
        try:
            yield self
        except _Now:
            raise Stopped(str(self.received)) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a forked loader worker: its parent decides
        if self.received is None:
            self.received, self._at = signal.Signals(number).name, time.monotonic()
            if not self.can_finish:
                raise _Now
            text = f"{self.received}: this step is finished and saved; a second one stops at once"
            os.write(2, f"\n{text}\n".encode())  # print could be what the signal interrupted
        elif time.monotonic() - self._at > SAME_REQUEST_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


class _Now(KeyboardInterrupt):
    """Leaves whatever runs; no `except Exception` on the way takes it for an error."""


class StopOnRequest(TrainerCallback):
    """Ends training with a checkpoint once a signal has come, in all processes after one step."""

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """From here on there is something to finish."""
        self.stop.can_finish = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Asks for a checkpoint and the end, where any process was told to."""
        if any_of(self.stop.received is not None, args.device):
            self.stop.received = self.stop.received or "a signal to another process"
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Nothing is under way any more."""
        self.stop.can_finish = False


class OwnProcessGroup:
    """Starts a loader worker so that a Ctrl-C, which a terminal sends to all, spares it.

    Args:
        then: what the loader runs in each new worker besides.
    """

    def __init__(self, then: Any = None) -> None:
        self.then = then

    def __call__(self, worker: int) -> None:
        """Runs in the new worker."""
        if hasattr(os, "setpgid"):
            os.setpgid(0, 0)
        if self.then is not None:
            self.then(worker)
