"""The `audio` operation of the reader process: soundfile first, then PyAV."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from mmadapt.data.media.decode.errors import CutShort, Unreadable
from mmadapt.data.media.decode.waveform import Part

BACKENDS = {
    "soundfile": "mmadapt.data.media.decode.audio_soundfile",
    "pyav": "mmadapt.data.media.decode.audio_pyav",
}


def read(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Reads a part of a sound file, or of a video's own sound, at the file's sampling rate.

    Args:
        request: `path`, `backends` (of `soundfile`, `pyav`, in the order to try), `start`, `end`,
            `max_seconds`, `mono`.

    Returns:
        `sampling_rate`, `backend`; and the waveform, float32: (n,) if mono, else (channels, n).

    Raises:
        Unreadable: neither decoder can, there is no sound in that part, or too much of it.
    """
    start = request["start"] or 0.0
    end = _end(start, request["end"], request["max_seconds"])
    part = Part(start, end, request["mono"])
    reasons: list[Unreadable] = []
    for name in request["backends"]:
        try:
            backend = importlib.import_module(BACKENDS[name])
            sampling_rate, waveform = backend.read(request["path"], part)
        except CutShort:
            raise
        except Unreadable as error:
            reasons.append(error)
        except Exception as error:  # a decoder's own; the next one may do better
            reasons.append(Unreadable(f"{name}: {type(error).__name__}: {error}"))
        else:
            waveform = _checked(waveform, start)
            header = {"sampling_rate": sampling_rate, "backend": name}
            return header, waveform[0] if part.mono else waveform
    raise reasons[-1]


def _end(start: float, end: float | None, max_seconds: float | None) -> float | None:
    """The end of the wanted part, None for the file's own."""
    if max_seconds is None:
        return end
    return start + max_seconds if end is None else min(end, start + max_seconds)


def _checked(waveform: np.ndarray, start: float) -> np.ndarray:
    if not waveform.size:
        raise Unreadable(
            f"there is no sound after {start:g} s" if start else "it has no samples",
            "Correct start and end in the data, or leave the file out.",
        )
    if not np.isfinite(waveform).all():
        raise Unreadable("it has samples that are not finite numbers (NaN or infinity)")
    return waveform
