"""Frames show the right colour at the right place, and shapes differ."""

import numpy as np
import pytest

from mmadapt_shapes.draw import SIZE, background, draw
from mmadapt_shapes.world import SHAPES

BLACK = np.zeros((1, SIZE, SIZE, 3), np.float32)


def one(shape, centre=(20.0, 40.0), radius=10.0, colour=(200.0, 100.0, 50.0)):
    arrays = np.array([colour]), np.array([centre]), np.array([radius])
    return draw(np.array([shape]), *arrays, BLACK)[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_shape_is_centred_and_within_its_radius(shape):
    ys, xs = np.nonzero(one(shape).sum(-1))
    assert abs((xs.min() + xs.max() + 1) / 2 - 20) <= 1
    assert abs((ys.min() + ys.max() + 1) / 2 - 40) <= 2
    reach = np.hypot(xs + 0.5 - 20, ys + 0.5 - 40).max()
    assert 8 < reach < 10 * 1.25, "a square's corner and a triangle's reach a little further"


def test_colour_fills_the_inside():
    assert one("square")[40, 20].tolist() == [200, 100, 50]
    assert one("ring")[40, 20].tolist() == [0, 0, 0]


def test_shapes_differ_in_more_than_a_tenth_of_their_area():
    masks = {shape: one(shape)[..., 0] > 100 for shape in SHAPES}
    for shape, mask in masks.items():
        for other, its in masks.items():
            if shape != other:
                assert (mask ^ its).sum() > 0.1 * mask.sum(), (shape, other)


def test_backgrounds_stay_dimmer_than_every_colour():
    behind = background(np.random.default_rng(0), 50)
    assert np.percentile(behind, 99) < 130
