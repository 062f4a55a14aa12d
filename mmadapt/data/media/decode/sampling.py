"""Which moments of a clip to look at; no decoder is needed to decide it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

Sampling = Literal["uniform", "segment", "fps", "all"]
SAMPLINGS: tuple[str, ...] = get_args(Sampling)


def segment_times(
    start: float, end: float, num_frames: int, offsets: Sequence[float] | None = None
) -> list[float]:
    """One moment in each of `num_frames` equal segments of a span, ascending.

    Args:
        start: Seconds.
        end: Seconds.
        num_frames: How many segments.
        offsets: For each segment, where in it, in [0, 1); default: the centres.

    Returns:
        `num_frames` times in seconds.

    Example:
        >>> segment_times(0.0, 8.0, 4)
        [1.0, 3.0, 5.0, 7.0]
    """
    width = (end - start) / num_frames
    offsets = [0.5] * num_frames if offsets is None else offsets
    return [start + (i + offset) * width for i, offset in enumerate(offsets)]


def rate_times(start: float, end: float, fps: float, num_frames: int | None = None) -> list[float]:
    """Moments at a fixed rate, the first at the start of the span, at most `num_frames` of them.

    Where the rate gives more than `num_frames`, the centres of `num_frames` equal segments come
    instead: the whole span at a lower rate rather than its beginning.

    Args:
        start: Seconds.
        end: Seconds.
        fps: Moments per second.
        num_frames: The most moments wanted; default: no bound.

    Returns:
        Times in seconds, ascending, at least one.

    Example:
        >>> rate_times(0.0, 2.0, fps=2.0)
        [0.0, 0.5, 1.0, 1.5]
        >>> rate_times(0.0, 2.0, fps=2.0, num_frames=2)
        [0.5, 1.5]
    """
    count = max(1, math.ceil((end - start) * fps - 1e-3))  # 2.0001 s at 10 fps are 20 moments
    if num_frames is not None and count > num_frames:
        return segment_times(start, end, num_frames)
    return [start + i / fps for i in range(count)]
