"""`vit_frames`: which frames, and every frame as an image."""

from __future__ import annotations

import pickle

import av
import numpy as np
import pytest
import torch

from mmadapt.contracts import encoder_info
from mmadapt.errors import MediaError
from mmadapt.types import LevelSpec
from mmadapt_vision.config import VitConfig, VitFramesConfig
from mmadapt_vision.frames import VitFramesEncoder
from mmadapt_vision.vit import VitEncoder
from tests.plugins.mmadapt_vision.tiny_vision import BLOCKS, frames, save_model

LEVELS = [LevelSpec(0), LevelSpec(BLOCKS - 1, normed=True)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    save_model("clip", folder)
    return str(folder)


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    """Four seconds at ten frames a second; frame i is grey 6 * i."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv444p"
        for i in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 6 * i, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def encoder_for(model, **options):
    return VitFramesEncoder(VitFramesConfig(model=model, **options))


def shown(pixels):
    """Numbers of the frames in (t, 3, h, w) pixels of `clip_file`."""
    return [round(value / 6) for value in pixels.float().mean((1, 2, 3)).tolist()]


@torch.no_grad()
def test_each_frame_is_encoded_as_an_image(model):
    encoder, images = encoder_for(model, num_frames=3), VitEncoder(VitConfig(model=model))
    clip = frames(3)
    values = encoder.processor({"type": "video", "value": clip})
    assert values.shape == (3, 3, 32, 32) and values.dtype == torch.uint8
    features = encoder({"values": values[None], "item": torch.zeros(1, 3).long()}, LEVELS)
    for i, frame in enumerate(clip):
        row = images.processor({"type": "image", "value": frame})
        alone = images({"values": row[None], "item": torch.zeros(1, 1).long()}, LEVELS)
        for level, own in zip(features.levels, alone.levels, strict=True):
            torch.testing.assert_close(level[:, i], own[:, 0], rtol=0, atol=2e-6)
    assert encoder_info(encoder) == VitFramesEncoder.info(encoder.config)
    assert (encoder.num_items, encoder.modality, encoder.grid) == (3, "video", (4, 4))


def test_uniform_takes_the_middles_of_equal_parts(model, clip_file):
    processor = encoder_for(model, num_frames=4).processor
    media = {"type": "video", "path": clip_file}
    assert shown(processor(media)) == [5, 15, 25, 35]
    assert shown(processor(media, np.random.default_rng(0))) == [5, 15, 25, 35]


def test_segment_is_random_in_training_only(model, clip_file):
    processor = encoder_for(model, num_frames=4, sampling="segment").processor
    media = {"type": "video", "path": clip_file}
    assert shown(processor(media)) == [5, 15, 25, 35]
    drawn = [shown(processor(media, np.random.default_rng(seed))) for seed in (0, 1, 2, 0)]
    assert drawn[0] == drawn[3] and len({tuple(d) for d in drawn}) == 3
    assert all(10 * i <= number < 10 * i + 10 for d in drawn for i, number in enumerate(d))


def test_rate_start_and_end(model, clip_file):
    by_rate = encoder_for(model, num_frames=8, sampling="fps", fps=2, start=1.0, end=3.0).processor
    assert shown(by_rate({"type": "video", "path": clip_file})) == [10, 15, 20, 25]
    own_part = {"type": "video", "path": clip_file, "start": 2.0}
    assert shown(by_rate(own_part)) == [20, 25, 30, 35]  # the recipe's end does not count


def test_frames_in_memory_are_sampled_too(model):
    clip = np.broadcast_to(
        (6 * np.arange(40, dtype=np.uint8))[:, None, None, None], (40, 32, 32, 3)
    )
    uniform = encoder_for(model, num_frames=4).processor
    assert shown(uniform({"type": "video", "value": clip})) == [5, 15, 25, 35]
    assert shown(uniform({"type": "video", "value": list(clip[:4])})) == [0, 1, 2, 3]
    assert shown(uniform({"type": "video", "value": clip[:2]})) == [0, 0, 1, 1]
    segment = encoder_for(model, num_frames=4, sampling="segment").processor
    drawn = [
        shown(segment({"type": "video", "value": clip}, np.random.default_rng(s))) for s in (0, 1)
    ]
    assert drawn[0] != drawn[1]
    assert all(10 * i <= number < 10 * i + 10 for d in drawn for i, number in enumerate(d))


def test_all_frames_share_one_random_view(model):
    processor = encoder_for(model, num_frames=3, augment="flip_crop").processor
    still = np.repeat(frames(1), 3, axis=0)
    pixels = processor({"type": "video", "value": still}, np.random.default_rng(0))
    assert torch.equal(pixels[0], pixels[2])
    assert not torch.equal(pixels, processor({"type": "video", "value": still}))


def test_errors_name_the_file(model, clip_file):
    processor = encoder_for(model).processor
    with pytest.raises(MediaError, match=r"clip\.mp4"):
        processor({"type": "video", "path": clip_file, "start": 3.0, "end": 1.0})
    with pytest.raises(MediaError, match=r"gone\.mp4"):
        processor({"type": "video", "path": "gone.mp4"})


def test_processor_pickles(model, clip_file):
    processor = encoder_for(model, num_frames=2).processor
    pickled = pickle.dumps(processor)
    assert len(pickled) < 2000
    media = {"type": "video", "path": clip_file}
    assert torch.equal(processor(media), pickle.loads(pickled)(media))


@pytest.mark.parametrize(
    "options", [{"fps": 2.0}, {"sampling": "fps"}, {"start": 3.0, "end": 1.0}, {"num_frames": 0}]
)
def test_options_that_do_not_fit_together_are_refused(options):
    with pytest.raises(ValueError):
        VitFramesConfig(model="x", **options)
