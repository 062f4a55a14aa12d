"""How much memory a process took at most, and whether it did not suffice."""

from __future__ import annotations

import errno
import sys

# What torch, C++, cuBLAS and the system say where there is no more memory.
_ALLOCATION = (
    "DefaultCPUAllocator",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Cannot allocate memory",
    "out of memory",
)


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, Python or the system says that memory does not suffice."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _ALLOCATION)
