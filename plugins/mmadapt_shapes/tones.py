"""Make the waveform of a sound: a timbre whose pitch follows a contour, in a rhythm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmadapt_shapes.world import Combination

SAMPLE_RATE = 16_000
"""Samples per second."""
DURATION = 1.28
"""Seconds of every sound."""

Wave = NDArray[np.floating]

_CENTRE_HZ = {"low": (220.0, 300.0), "high": (700.0, 950.0)}
_PULSES = {"without pause": 0, "in slow pulses": 3, "in quick pulses": 8}


def _pitch(rng: np.random.Generator, contour: str, centre: float) -> Wave:
    """Return the pitch in Hz at each sample: up or down most of an octave, level, or wavering."""
    time = np.linspace(0.0, 1.0, round(SAMPLE_RATE * DURATION))
    octaves = rng.uniform(0.7, 1.0)
    if contour == "wavering":
        curve = 0.2 * np.sin(2 * np.pi * (rng.uniform(4.0, 5.5) * time + rng.uniform()))
    else:
        curve = {"rising": octaves, "falling": -octaves, "steady": 0.0}[contour] * (time - 0.5)
    return centre * 2.0**curve


def _timbre(rng: np.random.Generator, name: str, phase: Wave) -> Wave:
    """Return one wave per timbre, all near the same loudness."""
    if name == "pure":
        return np.sin(phase)
    if name == "noisy":  # noise rides on the tone, so that its pitch can still be heard
        return 0.45 * np.sin(phase) + 0.3 * rng.standard_normal(phase.size)
    odd_only = name == "hollow"
    orders = range(1, 9, 2) if odd_only else range(1, 13)
    return 0.6 * sum(np.sin(order * phase) / order**0.7 for order in orders)


def _envelope(rng: np.random.Generator, rhythm: str, size: int) -> Wave:
    """Return the loudness over time: level, or raised-cosine pulses."""
    pulses = _PULSES[rhythm]
    if not pulses:
        return np.ones(size)
    phase = np.linspace(0.0, pulses, size) + rng.uniform(-0.15, 0.15)
    return np.clip(0.5 - 1.4 * np.cos(2 * np.pi * phase), 0.0, 1.0)


def waveform(rng: np.random.Generator, combination: Combination) -> Wave:
    """Make the samples of a sound.

    Args:
        rng: The generator that decides pitch, speed and loudness.
        combination: ``pitch``, ``timbre``, ``contour`` and ``rhythm``.

    Returns:
        Mono samples at 16 kHz within -1 and 1.
    """
    frequency = _pitch(rng, combination["contour"], rng.uniform(*_CENTRE_HZ[combination["pitch"]]))
    phase = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE + rng.uniform(0, 2 * np.pi)
    wave = _timbre(rng, combination["timbre"], phase)
    wave = wave * _envelope(rng, combination["rhythm"], wave.size)
    wave = wave + rng.uniform(0.001, 0.01) * rng.standard_normal(wave.size)
    return rng.uniform(0.4, 0.8) * wave / np.abs(wave).max()
