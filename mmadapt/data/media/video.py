"""Reads videos: chosen frames of a file as one array, within a time limit."""

from __future__ import annotations

import importlib.util
import math
import os
from dataclasses import dataclass

import numpy as np

from mmadapt.data.media.decode.sampling import SAMPLINGS, Sampling
from mmadapt.data.media.files import read_file


@dataclass(frozen=True)
class VideoClip:
    """Frames of a video.

    Args:
        frames: (t, h, w, 3) uint8, RGB, upright.
        timestamps: (t,) float64, seconds after the first frame of the file.
        fps: Mean frames per second of the file (not of `frames`).
        duration: Seconds of the whole file.
        backend: The decoder that read it, `decord` or `pyav`; `memory` for frames given as values.
    """

    frames: np.ndarray
    timestamps: np.ndarray
    fps: float
    duration: float
    backend: str

    def __len__(self) -> int:
        return len(self.frames)


def read_video(
    path: str | os.PathLike[str],
    *,
    num_frames: int | None = None,
    fps: float | None = None,
    sampling: Sampling = "uniform",
    start: float | None = None,
    end: float | None = None,
    rng: np.random.Generator | None = None,
    timeout: float = 60.0,
    size: tuple[int, int] | None = None,
) -> VideoClip:
    """Reads frames of a video file (mp4, webm, mkv, avi, gif, whatever FFmpeg reads).

    A moment stands for the frame that a player shows then, by time stamps, so that a variable frame
    rate is respected; rotation metadata is, too. Decoding happens in a reader process; decord is
    tried first where it is installed and known to be exact for the file, then PyAV. Only the wanted
    parts of a file are decoded.

    Args:
        path: The file.
        num_frames: How many frames. A clip with fewer repeats some, so that this many come back.
        fps: Frames per second for `sampling="fps"`.
        sampling: `uniform`: the centres of `num_frames` equal segments. `segment`: one frame of
            each of `num_frames` equal segments, at random with `rng`, its centre without. `fps`: at
            a rate from the start; where that gives more than `num_frames`, `num_frames` uniform
            ones instead. `all`: every frame.
        start: First second of the wanted part; default: the beginning.
        end: Last second of the wanted part; default (and where it is later): the end.
        rng: Randomness for `segment`; None is deterministic.
        timeout: Seconds that a decoder may take; the second one has as long again if the first was
            killed at its limit or crashed.
        size: (height, width) to resize the frames to (bicubic, aspect ratio not kept); default: as
            they are.

    Returns:
        The frames, their times, and what is known of the file.

    Raises:
        MediaError: the file cannot be read, is too large, cut short, or has no such part.
        ValueError: arguments that do not fit together.

    Example:
        >>> clip = read_video("dog.mp4", num_frames=8, sampling="segment", size=(224, 224))
        >>> clip.frames.shape
        (8, 224, 224, 3)
    """
    _check(num_frames, fps, sampling, size)
    is_random = sampling == "segment" and num_frames is not None
    header, frames = read_file(
        "video",
        path,
        timeout=timeout,
        backends=_backends(),
        sampling=sampling,
        num_frames=num_frames,
        fps=fps,
        start=start,
        end=end,
        offsets=rng.random(num_frames).tolist() if rng is not None and is_random else None,
        size=size,
    )
    timestamps = np.asarray(header["timestamps"], np.float64)
    return VideoClip(frames, timestamps, header["fps"], header["duration"], header["backend"])


def _backends() -> tuple[str, ...]:
    """The decoders that are installed, in the order to try them."""
    return ("decord", "pyav") if importlib.util.find_spec("decord") else ("pyav",)


def _check(
    num_frames: int | None,
    fps: float | None,
    sampling: str,
    size: tuple[int, int] | None,
) -> None:
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling must be one of {', '.join(SAMPLINGS)}, not {sampling!r}")
    if num_frames is not None and num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, not {num_frames}")
    if sampling in ("uniform", "segment") and (num_frames is None or fps is not None):
        raise ValueError(f"sampling={sampling!r} takes num_frames and no fps")
    if sampling == "fps" and (fps is None or not 0 < fps < math.inf):
        raise ValueError(f"sampling='fps' takes a positive fps, not {fps}")
    if sampling == "all" and (num_frames is not None or fps is not None):
        raise ValueError("sampling='all' takes neither num_frames nor fps")
    if size is not None and min(size) < 1:
        raise ValueError(f"size must be (height, width) in pixels, not {size}")
