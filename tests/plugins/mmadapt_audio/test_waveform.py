"""Sounds that cannot be heard name their file; the rest is cut as told."""

from __future__ import annotations

import numpy as np
import pytest

from mmadapt.errors import MediaError
from mmadapt_audio.waveform import SegmentReader
from tests.plugins.mmadapt_audio.tiny_audio import RATE, save_sound, sound


def reader(segments: int = 1) -> SegmentReader:
    return SegmentReader(RATE, step=8000, length=8000, shortest=400, segments=segments)


def test_a_file_shorter_than_one_window_is_named(tmp_path):
    path = save_sound(tmp_path / "click.wav", sound(0.01))
    with pytest.raises(MediaError, match=r"click\.wav: .* lasts 0\.010 s.* at least 0\.025 s"):
        reader()({"type": "audio", "path": str(path)})
    with pytest.raises(MediaError, match=r"in memory.* lasts 0\.010 s"):
        reader()({"type": "audio", "value": sound(0.01)})


def test_empty_and_damaged_files_are_named(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "damaged.wav").write_bytes(b"RIFF" + bytes(range(200)))
    for name in ("empty.wav", "damaged.wav", "missing.wav"):
        with pytest.raises(MediaError, match=name):
            reader()({"type": "audio", "path": str(tmp_path / name)})


def test_start_and_end_of_the_media_part_count(tmp_path):
    waveform = sound(2.0)
    path = save_sound(tmp_path / "a.wav", waveform)
    (found,) = reader()({"type": "audio", "path": str(path), "start": 1.0, "end": 1.25})
    assert np.array_equal(found, waveform[16_000:20_000])


def test_a_long_file_is_cut_at_the_last_segment(tmp_path):
    waveform = sound(2.0)
    path = save_sound(tmp_path / "a.wav", waveform)
    parts = reader(segments=3)({"type": "audio", "path": str(path)})
    assert np.array_equal(np.concatenate(parts), waveform[:24_000])


def test_resampling_does_not_see_the_cut(tmp_path):
    path = save_sound(tmp_path / "a.wav", sound(2.0, rate=8000), 8000)
    (cut,) = reader()({"type": "audio", "path": str(path)})
    whole = SegmentReader(RATE, 32_000, 32_000, 400)({"type": "audio", "path": str(path)})[0]
    np.testing.assert_allclose(cut, whole[:8000], atol=1e-6)  # float32
