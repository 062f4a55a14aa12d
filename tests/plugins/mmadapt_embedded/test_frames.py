"""The vision transformer's pretraining frames: labels fit the pixels, nothing held out is shown."""

import numpy as np
import pytest
import torch

from mmadapt_embedded import frames
from mmadapt_shapes.draw import SIZE
from mmadapt_shapes.scenes import picture_of
from mmadapt_shapes.world import COLOURS, SHAPES, split_of


@pytest.fixture(scope="module")
def batch():
    return frames.frame_batch(np.random.default_rng(0), 64)


def test_shapes_and_range(batch):
    assert batch.pixel_values.shape == (64, 3, SIZE, SIZE)
    assert batch.cover.shape == (64, (SIZE // frames.PATCH) ** 2)
    assert batch.pixel_values.min() > -1.2 and batch.pixel_values.max() < 1.2


def test_the_covered_patches_have_the_colour(batch):
    side = SIZE // frames.PATCH
    patches = torch.nn.functional.avg_pool2d(batch.pixel_values, frames.PATCH).flatten(2)
    assert patches.shape[-1] == side * side
    palette = torch.tensor(list(COLOURS.values())) / 127.5 - 1
    full = batch.cover.max(1)
    rows = torch.nonzero(full.values > 0.95)[:, 0]
    assert len(rows) > 20
    found = patches[rows, :, full.indices[rows]]
    nearest = torch.cdist(found, palette).argmin(1)
    assert (nearest == batch.colour[rows]).float().mean() > 0.95


def test_place_is_where_the_cover_is(batch):
    side = SIZE // frames.PATCH
    weights = batch.cover.view(-1, side, side)
    at = (torch.arange(side) + 0.5) / side * 2 - 1
    x = (weights.sum(1) * at).sum(1) / weights.sum((1, 2))
    y = (weights.sum(2) * at).sum(1) / weights.sum((1, 2))
    assert (x - batch.place[:, 0]).abs().max() < 0.1
    assert (y - batch.place[:, 1]).abs().max() < 0.15, "a triangle's weight lies below its centre"


def test_no_clip_frame_is_a_held_out_picture():
    rng = np.random.default_rng(1)
    pictures = 0
    for _ in range(3000):
        colour, scene, t = frames._moment(rng)
        words = picture_of(scene.centre[t], scene.radius[t])
        if words:
            pictures += 1
            size, position = words
            shown = {"colour": colour, "shape": scene.shape, "size": size, "position": position}
            assert split_of("image", shown) == "train"
    assert pictures > 500


def test_clips_of_training_combinations_alone():
    assert all(split_of("video", c) == "train" for c in frames._TRAIN_CLIPS)
    assert all(split_of("image", c) == "train" for c in frames._TRAIN_PICTURES)


def test_every_colour_and_shape_comes_up(batch):
    assert set(batch.colour.tolist()) == set(range(len(COLOURS)))
    assert set(batch.shape.tolist()) == set(range(len(SHAPES)))


def test_the_seed_decides(batch):
    again = frames.frame_batch(np.random.default_rng(0), 64)
    assert torch.equal(again.pixel_values, batch.pixel_values)
