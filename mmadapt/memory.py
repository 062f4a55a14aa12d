"""How much memory a process took at most."""

from __future__ import annotations

import sys


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
