"""Random views of a training picture, driven only by the sample's own generator.

The published eP-ALM (arXiv 2303.11403) and ADEM-VL (arXiv 2410.17779) train on a random resized
crop, a horizontal flip and two of ten operations, each applied with probability one half;
`randaugment` is that recipe. Departure: shear, shift and turn sample as torchvision, not OpenCV.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from mmadapt_vision.pixels import PixelRule

_GREY = [128.0, 128.0, 128.0]
_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Views:
    """What a processor makes of decoded frames: the model's own view, or a random one in training.

    Args:
        rule: gives the size and the interpolation.
        augment: none, flip, crop, flip_crop, or randaugment (crop, flip, then operations).
        scale: least share of the area that a crop keeps.
        ops: operations of randaugment.
        magnitude: their strength, 0 to 10.
    """

    rule: PixelRule
    augment: str = "none"
    scale: float = 0.5
    ops: int = 2
    magnitude: int = 5

    def __call__(self, frames: np.ndarray, rng: np.random.Generator | None = None) -> Tensor:
        """One view, the same for all frames.

        Args:
            frames: (t, H, W, 3) uint8.
            rng: every random choice comes from here; None gives the model's own view.

        Returns:
            (t, 3, h, w) in the range that `rule` itself returns.
        """
        pixels = torch.from_numpy(np.require(frames, requirements=["C", "W"])).permute(0, 3, 1, 2)
        if rng is None or self.augment == "none":
            return self.rule(pixels)
        if self.augment != "randaugment":
            return self._crop_and_flip(pixels, rng, self.rule)
        # The operations work on uint8, so that scaling waits where it would otherwise come first.
        pixels = self._crop_and_flip(pixels, rng, replace(self.rule, scale_first=False))
        for name in rng.choice(sorted(OPERATIONS), size=self.ops):
            if rng.random() < 0.5:
                sign = 1 if rng.random() < 0.5 else -1
                pixels = OPERATIONS[name](pixels, sign * self.magnitude / 10)
        return self.rule.to_range(pixels)

    def _crop_and_flip(self, pixels: Tensor, rng: np.random.Generator, rule: PixelRule) -> Tensor:
        if self.augment == "flip":
            pixels = rule(pixels)
        else:
            box = random_crop(pixels.shape[-2], pixels.shape[-1], rng, self.scale)
            pixels = rule.resized(rule.to_range(F.crop(pixels, *box)), rule.size)
        if self.augment != "crop" and rng.random() < 0.5:
            pixels = F.horizontal_flip(pixels)
        return pixels


def random_crop(
    height: int, width: int, rng: np.random.Generator, scale: float
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a crop with a random area and a random shape of 3:4 to 4:3."""
    for _ in range(10):
        area = height * width * rng.uniform(scale, 1.0)
        ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    # An elongated picture: the largest part whose shape is allowed, from the middle.
    h = min(height, round(width / _RATIO[0]))
    w = min(width, round(height * _RATIO[1]))
    return (height - h) // 2, (width - w) // 2, h, w


def _affine(
    frames: Tensor,
    *,
    angle: float = 0.0,
    translate: tuple[float, float] = (0.0, 0.0),
    shear: tuple[float, float] = (0.0, 0.0),
    corner: bool = False,
) -> Tensor:
    return F.affine(
        frames,
        angle=angle,
        translate=list(translate),
        scale=1.0,
        shear=[math.degrees(math.atan(value)) for value in shear],
        interpolation=InterpolationMode.BILINEAR,
        fill=_GREY,
        center=[0.0, 0.0] if corner else None,
    )


def _strength(level: float) -> float:
    return abs(level) * 1.8 + 0.1


# Each takes frames and a signed level of -1 to 1.
OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda frames, level: frames,
    "autocontrast": lambda frames, level: F.autocontrast(frames),
    "equalize": lambda frames, level: F.equalize(frames),
    "brightness": lambda frames, level: F.adjust_brightness(frames, _strength(level)),
    "sharpness": lambda frames, level: F.adjust_sharpness(frames, _strength(level)),
    "shear_x": lambda frames, level: _affine(frames, shear=(0.3 * level, 0.0), corner=True),
    "shear_y": lambda frames, level: _affine(frames, shear=(0.0, 0.3 * level), corner=True),
    "translate_x": lambda frames, level: _affine(frames, translate=(10 * level, 0.0)),
    "translate_y": lambda frames, level: _affine(frames, translate=(0.0, 10 * level)),
    "rotate": lambda frames, level: _affine(frames, angle=30 * level),
}
