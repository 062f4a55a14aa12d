"""Reads sound at the sampling rate that an encoder wants, within a time limit."""

from __future__ import annotations

import math
import os

import numpy as np

from mmadapt.data.media.files import read_file

BACKENDS = ("soundfile", "pyav")
"""The decoders, in the order to try them."""


def read_audio(
    path: str | os.PathLike[str],
    *,
    sampling_rate: int,
    mono: bool = True,
    start: float | None = None,
    end: float | None = None,
    max_seconds: float | None = None,
    timeout: float = 60.0,
) -> np.ndarray:
    """Reads a sound file (wav, flac, ogg, mp3, m4a, …) or the sound of a video.

    soundfile reads it if it can, else PyAV, in the reader process; `torchaudio.functional.resample`
    brings it to the wanted rate.

    Args:
        path: The file.
        sampling_rate: Wanted samples per second.
        mono: Average the channels into one.
        start: First second of the wanted part; default: the beginning.
        end: Last second of the wanted part; default (and where it is later): the end.
        max_seconds: At most this much from `start`.
        timeout: Seconds that a decoder may take; the second one has as long again if the first was
            killed at its limit or crashed.

    Returns:
        float32, (samples,); with `mono=False` (channels, samples).

    Raises:
        MediaError: the file cannot be read, is too long, cut short, or has no such part.
        ValueError: a rate or length that is not positive.

    Example:
        >>> read_audio("dog.wav", sampling_rate=16000, max_seconds=2.0).shape
        (32000,)
    """
    if sampling_rate < 1:
        raise ValueError(f"sampling_rate must be at least 1 Hz, not {sampling_rate}")
    if max_seconds is not None and not 0 < max_seconds < math.inf:
        raise ValueError(f"max_seconds must be a positive number of seconds, not {max_seconds}")
    header, waveform = read_file(
        "audio",
        path,
        timeout=timeout,
        backends=BACKENDS,
        start=start,
        end=end,
        max_seconds=max_seconds,
        mono=mono,
    )
    return resample(waveform, header["sampling_rate"], sampling_rate)


def resample(waveform: np.ndarray, source: int, target: int) -> np.ndarray:
    """Changes the sampling rate.

    Args:
        waveform: float32, (…, samples).
        source: Its samples per second.
        target: Wanted samples per second.

    Returns:
        float32, (…, ceil(samples * target / source)).
    """
    if source == target:
        return waveform
    import torch
    import torchaudio.functional

    return torchaudio.functional.resample(torch.from_numpy(waveform), source, target).numpy()
