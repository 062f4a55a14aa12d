"""Log-mel frames: Whisper's own, as many as the sound needs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import transformers as hf

from mmadapt.errors import MediaError
from mmadapt_audio.config import WhisperConfig
from mmadapt_audio.log_mel import LogMelProcessor
from tests.plugins.mmadapt_audio.tiny_audio import RATE, audio, save_sound, sound

EXTRACTOR = hf.WhisperFeatureExtractor(feature_size=8, chunk_length=2)


def processor(context_seconds: float = 0.0, **options) -> LogMelProcessor:
    config = WhisperConfig(model="", context_seconds=context_seconds, **options)
    return LogMelProcessor(EXTRACTOR, 100, config)


@pytest.mark.parametrize("seconds", [0.025, 0.3, 0.31, 1.0, 1.93, 1.985, 2.0])
def test_frames_are_those_of_the_padded_sound(seconds):
    values, mask = processor()(audio(sound(seconds)))
    own = EXTRACTOR(sound(seconds), sampling_rate=RATE, return_tensors="pt").input_features
    frames = values.shape[2]
    torch.testing.assert_close(values, own[:, :, :frames], rtol=0, atol=1e-6)  # float32
    heard = 2 * -(-round(seconds * RATE) // 320)
    assert mask.tolist() == [[True] * heard + [False] * (frames - heard)]
    assert frames == min(heard + 2, 200)


@pytest.mark.parametrize(("seconds", "frames"), [(30, 200), (1.0, 102), (0.31, 34), (0.1, 32)])
def test_the_context_adds_frames_of_silence_and_marks_the_sound(seconds, frames):
    values, mask = processor(seconds)(audio(sound(0.3)))
    own = EXTRACTOR(sound(0.3), sampling_rate=RATE, return_tensors="pt").input_features
    torch.testing.assert_close(values, own[:, :, :frames], rtol=0, atol=1e-6)  # float32
    assert mask.shape == (1, frames) and mask.sum() == 30 and mask[:, :30].all()


def test_a_file_gives_what_the_sound_in_memory_gives_at_the_models_rate(tmp_path):
    slow = sound(0.5, rate=8000)
    path = save_sound(tmp_path / "a.wav", slow, 8000)
    found = processor()({"type": "audio", "path": str(path)})[0]
    torch.testing.assert_close(found, processor()(audio((slow, 8000)))[0], rtol=0, atol=1e-5)
    assert found.shape[2] == 52


def test_too_short_names_the_file(tmp_path):
    path = save_sound(tmp_path / "click.wav", sound(0.01))
    with pytest.raises(MediaError, match=r"click\.wav.* at least 0\.025 s"):
        processor()({"type": "audio", "path": str(path)})


def test_pickles_and_does_the_same():
    one, other = processor(), pickle.loads(pickle.dumps(processor()))
    part = audio(sound(0.3))
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert all(torch.equal(a, b) for a, b in zip(one(part, rng), other(part), strict=True))
    assert rng.bit_generator.state == before
