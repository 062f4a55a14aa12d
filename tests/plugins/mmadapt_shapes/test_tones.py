"""Waveforms sound as their words say."""

import numpy as np
import pytest

from mmadapt_shapes.tones import DURATION, SAMPLE_RATE, waveform
from mmadapt_shapes.world import all_combinations


def tone(seed=0, **changes):
    kind = {"pitch": "low", "timbre": "pure", "contour": "steady", "rhythm": "without pause"}
    return waveform(np.random.default_rng(seed), {**kind, **changes})


def peak_hz(wave):
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(wave.size)))
    return spectrum.argmax() * SAMPLE_RATE / wave.size


def halves(wave):
    middle = wave.size // 2
    return peak_hz(wave[: middle // 2]), peak_hz(wave[-middle // 2 :])


def test_length_and_range():
    for i, kind in enumerate(all_combinations("audio")):
        wave = waveform(np.random.default_rng(i), kind)
        assert wave.shape == (round(SAMPLE_RATE * DURATION),)
        assert 0.3 < np.abs(wave).max() < 1


@pytest.mark.parametrize("timbre", ["pure", "noisy", "hollow", "buzzing"])
def test_pitch(timbre):
    assert 200 < peak_hz(tone(timbre=timbre)) < 320
    assert 650 < peak_hz(tone(timbre=timbre, pitch="high")) < 1000


def test_contour():
    start, end = halves(tone(contour="rising"))
    assert end > 1.2 * start
    start, end = halves(tone(contour="falling"))
    assert start > 1.2 * end
    start, end = halves(tone(contour="steady"))
    assert abs(start / end - 1) < 0.02


def test_hollow_tones_lack_even_overtones_and_buzzing_ones_have_them():
    def second_overtone(timbre):
        wave = tone(timbre=timbre)
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(wave.size)))
        first = spectrum.argmax()
        return spectrum[2 * first - 3 : 2 * first + 4].max() / spectrum[first]

    assert second_overtone("hollow") < 0.05 < 0.3 < second_overtone("buzzing")


@pytest.mark.parametrize(
    ("rhythm", "pulses"), [("without pause", 1), ("in slow pulses", 3), ("in quick pulses", 8)]
)
def test_rhythm(rhythm, pulses):
    for seed in range(5):
        wave = np.abs(tone(seed, rhythm=rhythm, pitch="high"))
        loud = wave[: wave.size // 160 * 160].reshape(-1, 160).max(1) > 0.5 * wave.max()
        starts = int(loud[0]) + int((loud[1:] & ~loud[:-1]).sum())
        assert abs(starts - pulses) <= (0 if pulses == 1 else 1)
