"""Pixels equal what each model's own image processor gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf
from torchvision.transforms.v2 import functional as F

from mmadapt.errors import ModelError
from mmadapt_vision.augment import Views
from mmadapt_vision.pixels import CONSTANTS, pixel_rule
from tests.plugins.mmadapt_vision.tiny_vision import (
    IMAGE_MODELS,
    VIDEO_MODELS,
    frames,
    picture,
    save_model,
)

SHAPES = [(50, 37), (37, 50), (33, 200), (20, 24), (32, 32), (640, 480)]


def rule_of(processor, **wishes):
    return pixel_rule(processor, fallback_size=(32, 32), **wishes)


def view(rule, *images):
    return Views(rule)(np.stack([np.asarray(image) for image in images]))


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_equals_the_auto_image_processor(name, tmp_path):
    save_model(name, tmp_path)
    processor = hf.AutoImageProcessor.from_pretrained(tmp_path)
    rule = rule_of(processor)
    for seed, shape in enumerate(SHAPES):
        image = picture(*shape, seed=seed)
        pixels = view(rule, image)
        assert pixels.dtype == (torch.float32 if name == "dinov3_vit" else torch.uint8)
        own = processor(images=image, return_tensors="pt").pixel_values
        torch.testing.assert_close(rule.normalize(pixels), own, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", VIDEO_MODELS)
def test_equals_the_auto_video_processor(name, tmp_path):
    save_model(name, tmp_path)
    processor = hf.AutoVideoProcessor.from_pretrained(tmp_path)
    rule = rule_of(processor)
    clip = frames(4)
    own = processor([torch.from_numpy(clip).permute(0, 3, 1, 2)], return_tensors="pt")
    pixels = rule.normalize(view(rule, *clip))
    torch.testing.assert_close(pixels, own.pixel_values[0], rtol=0, atol=2e-6)


def test_a_picture_of_one_colour_gets_the_constants_of_the_recipe():
    grey = np.full((40, 40, 3), 51, np.uint8)  # 0.2
    own = hf.ViTImageProcessor(size={"height": 32, "width": 32})
    for mean_std in CONSTANTS:
        mean, std = CONSTANTS[mean_std]
        values = rule_of(own, mean_std=mean_std)
        pixels = values.normalize(view(values, grey))[0, :, 0, 0]
        expected = (torch.tensor(0.2) - torch.tensor(mean)) / torch.tensor(std)
        torch.testing.assert_close(pixels, expected)
    assert CONSTANTS["clip"][0][0] == 0.48145466 and CONSTANTS["imagenet"][1][2] == 0.225


def test_squash_keeps_the_edges_and_center_crop_cuts_them():
    image = np.zeros((32, 96, 3), np.uint8)
    image[:, :20] = 255  # white on the left, in the part that a square crop leaves out
    clip = hf.CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    squashed = view(rule_of(clip, resize="squash"), image)
    cropped = view(rule_of(clip, resize="center_crop"), image)
    assert squashed.shape == cropped.shape == (1, 3, 32, 32)
    assert squashed[0, 0, 16, 0] == 255 and squashed[0, 0, 16, 31] == 0
    assert not cropped.any()
    expected = F.resize(torch.from_numpy(image).permute(2, 0, 1), [32, 32], 3, antialias=True)
    assert torch.equal(squashed[0], expected)


def test_image_size_grows_the_edge_before_the_crop_in_proportion():
    own = hf.BitImageProcessor(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224})
    rule = rule_of(own, image_size=448)
    assert (rule.size, rule.resize) == ((448, 448), 512)
    rule = rule_of(hf.SiglipImageProcessor(size={"height": 224, "width": 224}), image_size=384)
    assert (rule.size, rule.resize) == ((384, 384), (384, 384))


def test_vivit_offset_of_both_its_processors():
    image = np.full((32, 32, 3), 255, np.uint8)
    video = rule_of(hf.VivitVideoProcessor())
    with_offset = rule_of(hf.VivitImageProcessor())
    for rule in (video, with_offset):  # (255 / 127.5 - 1 - 0.5) / 0.5
        torch.testing.assert_close(rule.normalize(view(rule, image)).unique(), torch.tensor([1.0]))
    without = rule_of(hf.VivitImageProcessor(offset=False))
    torch.testing.assert_close(
        without.normalize(view(without, image)).unique(), torch.tensor([3.0])
    )
    plain = rule_of(hf.VivitVideoProcessor(), mean_std="half")
    torch.testing.assert_close(plain.normalize(view(plain, image)).unique(), torch.tensor([1.0]))


def test_processor_that_does_not_resize_gets_the_models_size():
    rule = rule_of(hf.ViTImageProcessor(do_resize=False, do_normalize=False))
    assert rule.size == rule.resize == (32, 32)
    pixels = rule.normalize(view(rule, np.full((8, 8, 3), 255, np.uint8)))
    torch.testing.assert_close(pixels.unique(), torch.tensor([1.0]))


def test_processor_without_a_fixed_size_is_refused():
    own = hf.ViTImageProcessor(size={"max_height": 32, "max_width": 32})
    with pytest.raises(ModelError, match="ViTImageProcessor resizes to"):
        rule_of(own)


def test_pixels_share_no_memory_with_the_picture():
    image = np.zeros((32, 32, 3), np.uint8)
    pixels = view(rule_of(hf.ViTImageProcessor(size={"height": 32, "width": 32})), image)
    image[:] = 255
    assert not pixels.any() and pixels.is_contiguous()
    assert pixels.untyped_storage().nbytes() == pixels.numel()
