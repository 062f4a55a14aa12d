import numpy as np
import pytest
import torch
from PIL import Image

from mmadapt.data.media import VideoClip, as_frames, as_image, as_waveform
from mmadapt.errors import MediaError
from tests.core.data.media.makers import indices_of, paint, pitch, tone

FRAMES = np.stack([paint(i) for i in (3, 1, 4)])  # (3, 32, 128, 3): 3 frames, 3 colours


def clip(frames):
    return VideoClip(frames, np.arange(len(frames)) / 10, 10.0, len(frames) / 10, "memory")


@pytest.mark.parametrize(
    "value",
    [
        clip(FRAMES),
        FRAMES,
        FRAMES.transpose(0, 3, 1, 2),
        torch.from_numpy(FRAMES),
        torch.from_numpy(FRAMES).permute(0, 3, 1, 2),
        torch.from_numpy(FRAMES).permute(0, 3, 1, 2).float() / 255,
        FRAMES / 255,
        [Image.fromarray(frame) for frame in FRAMES],
        tuple(FRAMES),
    ],
)
def test_frames(value):
    frames = as_frames(value)
    assert frames.dtype == np.uint8 and frames.shape == FRAMES.shape
    assert indices_of(clip(frames)) == [3, 1, 4]


def test_frames_that_need_no_change_are_not_copied():
    frames = np.ascontiguousarray(FRAMES)
    assert np.shares_memory(as_frames(frames), frames)
    assert as_frames(clip(frames)) is frames


def test_pictures():
    picture = paint(5)
    values = [
        Image.fromarray(picture),
        picture,
        picture / 255,
        torch.from_numpy(picture).permute(2, 0, 1),
        picture[..., 0],
    ]
    for value in values:
        image = as_image(value)
        assert image.mode == "RGB" and np.asarray(image).tolist() == picture.tolist()
    transparent = as_image(Image.new("RGBA", (2, 2), (0, 0, 0, 0)))
    assert transparent.getpixel((0, 0)) == (255, 255, 255)


def test_waveforms():
    sound = tone(1, 8000)
    values = [
        sound,
        sound.astype(np.float64),
        torch.from_numpy(sound),
        np.stack([sound * 2, sound * 0]),
        (sound * 32768).round().astype(np.int16),
        (sound.astype(np.float64) * 2**31).round().astype(np.int32),
    ]
    for value in values:
        waveform = as_waveform(value)
        assert waveform.dtype == np.float32 and waveform.shape == (8000,)
        np.testing.assert_allclose(waveform, sound, atol=2e-5)


@pytest.mark.parametrize("form", ["pair", "mapping"])
def test_a_waveform_with_its_rate_is_resampled(form):
    sound = tone(1, 8000)
    value = (sound, 8000) if form == "pair" else {"array": sound, "sampling_rate": 8000}
    waveform = as_waveform(value, sampling_rate=16000)
    assert waveform.shape == (16000,)
    assert pitch(waveform, 16000) == pytest.approx(440, abs=2)
    assert as_waveform(sound, sampling_rate=16000).shape == (8000,)  # a bare array is taken as is


@pytest.mark.parametrize(
    ("convert", "value", "reason"),
    [
        (as_frames, "a.mp4", "it is a str"),
        (as_frames, None, "it is a NoneType"),
        (as_frames, [], "it is a list"),
        (as_frames, np.zeros((2, 3, 4), np.uint8), "its shape is"),
        (as_frames, np.zeros((0, 4, 4, 3), np.uint8), "its shape is"),
        (as_frames, np.zeros((2, 8, 8, 4), np.uint8), "no axis of 3 colours"),
        (as_frames, np.full((1, 8, 8, 3), 200.0), "not uint8 or floats in"),
        (as_frames, np.zeros((1, 8, 8, 3), np.int64), "int64"),
        (as_frames, [paint(1), paint(1)[:10]], "different sizes"),
        (as_image, "a.png", "it is a str"),
        (as_image, np.zeros((1, 2, 3, 3), np.uint8), "its shape is"),
        (as_image, np.zeros((5, 8, 8), np.uint8), "no axis of 3 colours"),
        (as_image, Image.new("F", (2, 2)), "floating-point"),
        (as_waveform, np.zeros(0), "its shape is"),
        (as_waveform, np.zeros((1, 2, 3)), "its shape is"),
        (as_waveform, np.array([0, np.inf]), "not finite"),
        (as_waveform, "a.wav", "it is a str"),
        (as_waveform, np.array(["a"]), "it is a ndarray"),
    ],
)
def test_anything_else_is_refused(convert, value, reason):
    with pytest.raises(MediaError) as caught:
        convert(value)
    assert reason in caught.value.reason and caught.value.advice
    assert str(caught.value).startswith("<in memory>: cannot read ")
