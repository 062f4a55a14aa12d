"""Spectrograms: transformers' own numbers, segments, SpecAugment."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf

from mmadapt_audio.config import AstConfig
from mmadapt_audio.spectrogram import FbankProcessor, FbankRule, mask_band
from tests.plugins.mmadapt_audio.tiny_audio import RATE, audio, save_sound, sound

RULE = FbankRule(RATE, num_mel_bins=40, max_length=64, mean=-3.5, std=1.7)
EXTRACTOR = hf.ASTFeatureExtractor(num_mel_bins=40, max_length=64, mean=-3.5, std=1.7)


def processor(**options) -> FbankProcessor:
    return FbankProcessor(RULE, AstConfig(model="", **options))


def own(waveform: np.ndarray) -> torch.Tensor:
    return EXTRACTOR(waveform, sampling_rate=RATE, return_tensors="pt").input_values


@pytest.mark.parametrize("seconds", [0.025, 0.2, 0.64, 0.655, 3.0])
def test_equals_transformers_padded_and_cut(seconds):
    found = processor()(audio(sound(seconds)))
    torch.testing.assert_close(found, own(sound(seconds)), rtol=0, atol=1e-6)  # float32


def test_padding_is_zero_before_the_normalisation():
    found = processor()(audio(sound(0.2)))
    assert torch.allclose(found[0, 30:], torch.tensor(3.5 / 3.4), atol=1e-6)


def test_subtracting_the_mean_first_changes_nothing():
    waveform = sound(0.5) + 0.2
    found, centred = (processor()(audio(w)) for w in (waveform, waveform - waveform.mean()))
    torch.testing.assert_close(found, centred, rtol=0, atol=1e-3)  # log of float32 sums


def test_a_stereo_file_at_another_rate_is_averaged_and_resampled(tmp_path):
    left, right = sound(0.5, seed=1, rate=22_050), sound(0.5, seed=2, rate=22_050)
    path = save_sound(tmp_path / "a.wav", np.stack([left, right], axis=1), 22_050)
    found = processor()({"type": "audio", "path": str(path)})
    memory = processor()(audio((np.stack([left, right]), 22_050)))
    torch.testing.assert_close(found, memory, rtol=0, atol=1e-5)  # float32
    one = processor()(audio((left, 22_050)))
    assert (found - one).abs().max() > 0.1


def test_segments_continue_one_another_without_gap_or_overlap(tmp_path):
    waveform = sound(1.5)
    found = processor(segments=5)(audio(waveform))
    whole = FbankRule(RATE, 40, max_length=192, mean=-3.5, std=1.7)
    expected = whole.normalize(whole.fbank(waveform))
    assert found.shape == (3, 64, 40)
    frames = 1 + (len(waveform) - 400) // 160
    torch.testing.assert_close(found.flatten(0, 1)[:frames], expected[:frames], rtol=0, atol=1e-6)
    path = save_sound(tmp_path / "a.wav", waveform)
    from_file = processor(segments=2)({"type": "audio", "path": str(path)})
    assert torch.equal(from_file, found[:2])


def test_a_rest_shorter_than_one_window_makes_no_segment():
    assert len(processor(segments=9)(audio(sound(0.64 + 0.024)))) == 1
    assert len(processor(segments=9)(audio(sound(0.64 + 0.025)))) == 2


def test_specaugment_hides_a_band_and_a_stretch_in_training_alone():
    augmented = processor(frequency_mask=24, time_mask=30)
    part = audio(sound(0.7))
    plain = processor()(part)
    assert torch.equal(augmented(part), plain)
    masks = [augmented(part, np.random.default_rng(seed)) != plain for seed in range(20)]
    bins = [mask[0].all(dim=0) for mask in masks]
    frames = [mask[0].all(dim=1) for mask in masks]
    for hidden, mask in zip(zip(frames, bins, strict=True), masks, strict=True):
        assert torch.equal(mask[0], hidden[0][:, None] | hidden[1])
    widths = {int(b.sum()) for b in bins}, {int(f.sum()) for f in frames}
    assert max(widths[0]) <= 23 and max(widths[1]) <= 29 and min(map(len, widths)) > 5
    again = augmented(part, np.random.default_rng(3))
    assert torch.equal(again != plain, masks[3])
    hidden = again[masks[3]]
    assert torch.allclose(hidden, torch.tensor(3.5 / 3.4), atol=1e-6)  # zero before the norm


def test_without_masks_nothing_is_drawn():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    processor()(audio(sound(0.5)), rng)
    assert rng.bit_generator.state == before


def test_a_band_wider_than_the_values_hides_all_at_most():
    rng = np.random.default_rng(0)
    shares = [mask_band(torch.ones(4, 3), 0, 100, rng).mean().item() for _ in range(20)]
    assert min(shares) == 0.0


@pytest.mark.parametrize("constants", [{"mean": -4.2677393, "std": 4.5689974}])
def test_other_constants_are_those_of_another_extractor(constants):
    rule = FbankRule(RATE, 40, 64, **constants)
    extractor = hf.ASTFeatureExtractor(num_mel_bins=40, max_length=64)
    expected = extractor(sound(0.4), sampling_rate=RATE, return_tensors="pt").input_values[0]
    torch.testing.assert_close(rule.normalize(rule.fbank(sound(0.4))), expected, rtol=0, atol=1e-6)
