"""Timing and memory on CPU and CUDA."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteria

_CLEAR_PEAK = "5"  # what Linux takes as the wish to forget a process's peak memory


def synchronize(device: torch.device) -> None:
    """Waits until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """How long a piece of work takes; on a GPU by events in its stream, its kernels included."""
    synchronize(device)
    if device.type == "cuda":
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record(torch.cuda.current_stream(device))
        work()
        ended.record(torch.cuda.current_stream(device))
        synchronize(device)
        return began.elapsed_time(ended) / 1000
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int | None:
    """The most memory that a piece of work had at once, base weights included.

    Returns:
        Bytes allocated on a GPU; on Linux's CPU those resident in the process; elsewhere None.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if not status.exists():
        work()
        return None
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what earlier rows freed is not this one's
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)
    work()
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


class Clock(StoppingCriteria):
    """Notes when each token of a generation is there; it never stops one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.times: list[float] = []

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Called by `generate` after every token."""
        synchronize(self.device)
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def generation(
    generate: Callable[..., Any], new_tokens: int, batch_size: int, device: torch.device
) -> tuple[float, float]:
    """Seconds to the first token, and tokens per second after it, over the whole batch."""
    clock = Clock(device)
    synchronize(device)
    start = time.perf_counter()
    generate(
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        do_sample=False,
        stopping_criteria=[clock],
    )
    first, last = clock.times[0], clock.times[-1]
    return first - start, batch_size * (len(clock.times) - 1) / (last - first)
