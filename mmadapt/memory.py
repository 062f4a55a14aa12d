"""How much memory a process took at most, and what to do when it does not suffice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mmadapt.errors import MMAdaptError

_ALLOCATION = "DefaultCPUAllocator"  # how torch names itself where the CPU has no more memory


def peak_memory_bytes() -> dict[str, int]:
    """The largest resident memory so far, in bytes.

    Returns:
        `process`, `children`, and `cuda` where there is one; `children` is the largest ended
        child (a loader worker, a media reader), not the sum.
    """
    import torch

    peak: dict[str, int] = {}
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        for name, who in (
            ("process", resource.RUSAGE_SELF),
            ("children", resource.RUSAGE_CHILDREN),
        ):
            peak[name] = resource.getrusage(who).ru_maxrss * unit
    if torch.cuda.is_available():
        peak["cuda"] = torch.cuda.max_memory_allocated()
    return peak


@contextmanager
def explain_out_of_memory(advice: str) -> Iterator[None]:
    """Turns every way of running out of memory into one line.

    Args:
        advice: what to lower.

    Raises:
        MMAdaptError: in place of the error of torch or Python.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_gpu = type(error).__name__ == "OutOfMemoryError"
        if not on_gpu and not isinstance(error, MemoryError) and _ALLOCATION not in str(error):
            raise
        place = "the GPU" if on_gpu else "this machine"
        raise MMAdaptError(f"the memory of {place} does not suffice: {advice}") from error
