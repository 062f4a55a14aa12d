"""Augmentation: all randomness from the sample's generator, one view for all frames."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as hf

from mmadapt_vision.augment import OPERATIONS, Views, random_crop
from mmadapt_vision.pixels import pixel_rule
from tests.plugins.mmadapt_vision.tiny_vision import frames, picture

RULE = pixel_rule(hf.ViTImageProcessor(size={"height": 32, "width": 32}), fallback_size=(32, 32))
RANDOM = ["flip", "crop", "flip_crop", "randaugment"]


def views(augment, image, seeds):
    made = Views(RULE, augment)
    return [made(image, None if seed is None else np.random.default_rng(seed)) for seed in seeds]


@pytest.mark.parametrize("augment", RANDOM)
def test_the_seed_decides_the_view(augment):
    image = np.asarray(picture())[None]
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    first = views(augment, image, range(12))
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    state = torch.get_rng_state()
    again = views(augment, image, range(12))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({view.numpy().tobytes() for view in first}) > 1
    assert all(view.shape == (1, 3, 32, 32) and view.dtype == torch.uint8 for view in first)


@pytest.mark.parametrize("augment", ["none", *RANDOM])
def test_without_a_generator_the_view_is_the_models_own(augment):
    image = np.asarray(picture())[None]
    own = RULE(torch.tensor(image).permute(0, 3, 1, 2))
    assert torch.equal(views(augment, image, [None])[0], own)
    if augment == "none":
        assert torch.equal(views(augment, image, [5])[0], own)


@pytest.mark.parametrize("augment", RANDOM)
def test_all_frames_of_a_clip_get_the_same_view(augment):
    clip = np.repeat(frames(1), 3, axis=0)
    for view in views(augment, clip, range(12)):
        assert torch.equal(view[0], view[1]) and torch.equal(view[0], view[2])


def test_flip_only_mirrors_and_crop_never_does():
    image = np.asarray(picture())[None]
    own = Views(RULE)(image)
    flips = views("flip", image, range(20))
    mirrored = [torch.equal(view, own.flip(-1)) for view in flips]
    assert all(m or torch.equal(view, own) for m, view in zip(mirrored, flips, strict=True))
    assert 0 < sum(mirrored) < 20
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, None, :, None] * 4, (1, 64, 64, 3))
    for view in views("crop", ramp, range(20)):
        assert view[0, 0, 0, 0] < view[0, 0, 0, -1]  # bright stays on the right
    assert any(v[0, 0, 0, 0] > v[0, 0, 0, -1] for v in views("flip_crop", ramp, range(20)))


@pytest.mark.parametrize("height, width", [(100, 80), (30, 300), (300, 30), (1, 1)])
def test_random_crops_stay_inside_and_keep_their_share_and_shape(height, width):
    rng = np.random.default_rng(0)
    boxes = [random_crop(height, width, rng, 0.5) for _ in range(200)]
    for top, left, h, w in boxes:
        assert top >= 0 and top + h <= height and left >= 0 and left + w <= width and h and w
        assert 0.73 < w / h < 1.37
    if (height, width) == (100, 80):
        shares = [h * w / (height * width) for _, _, h, w in boxes]
        assert 0.48 < min(shares) < 0.6 and 0.9 < max(shares) <= 1.0
        assert len({box[:2] for box in boxes}) > 50


def test_operations_do_what_they_are_named_after():
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[..., 12:20, 12:20] = 100
    assert set(OPERATIONS) == {
        *("identity", "autocontrast", "equalize", "brightness", "sharpness", "rotate"),
        *("shear_x", "shear_y", "translate_x", "translate_y"),
    }
    assert torch.equal(OPERATIONS["identity"](image, 1.0), image)
    assert OPERATIONS["autocontrast"](image, 1.0).max() >= 254  # stretched from 100
    brighter = OPERATIONS["brightness"](image, 0.7)  # 0.7 * 1.8 + 0.1 = 1.36
    assert brighter.max() == 136
    assert torch.equal(OPERATIONS["brightness"](image, -0.7), brighter)  # strength has no sign
    moved = OPERATIONS["translate_x"](image, 0.5)  # by five pixels
    assert torch.equal(moved[..., 5:], image[..., :-5]) and (moved[..., :5] == 128).all()
    moved = OPERATIONS["translate_y"](image, -0.5)
    assert torch.equal(moved[..., :-5, :], image[..., 5:, :])
    sheared = OPERATIONS["shear_x"](image, 1.0)  # row y moves by 0.3 y: 4 to 6 pixels
    assert OPERATIONS["shear_x"](image, 0.0).equal(image)
    centre = (sheared[0, 0] == 100).nonzero().float().mean(0)
    assert abs(abs(centre[1] - 15.5) - 0.3 * 15.5) < 0.7 and abs(centre[0] - 15.5) < 0.7
    turned = OPERATIONS["rotate"](image, 1.0)
    assert turned[0, 0, 16, 16] == 100 and (turned[0, 0, 0, 0] == 128)


def test_dinov3_scales_after_the_operations():
    rule = replace(RULE, scale_first=True)
    image = np.asarray(picture())[None]
    for augment in RANDOM:
        view = Views(rule, augment)(image, np.random.default_rng(0))
        assert view.dtype == torch.float32 and view.min() >= 0 and view.max() <= 1.0
        assert view.max() > 0.5
