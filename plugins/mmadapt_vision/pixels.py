"""From a decoded picture to the pixels a model reads: resized in the worker, normalised later.

A picture crosses from the loader's worker to the device as uint8, a quarter of its size in float32;
`PixelRule.normalize` then gives what the model's own image processor would have given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from mmadapt.errors import ModelError
from mmadapt_vision.families import as_pair

CONSTANTS = {
    "imagenet": (tuple(IMAGENET_DEFAULT_MEAN), tuple(IMAGENET_DEFAULT_STD)),
    "clip": (tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD)),
    "half": (tuple(IMAGENET_STANDARD_MEAN), tuple(IMAGENET_STANDARD_STD)),
}
# By PIL's numbers; tensors have no Lanczos filter, and transformers then takes bicubic, too.
_INTERPOLATIONS = {0: "nearest", 1: "bicubic", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


@dataclass(frozen=True)
class PixelRule:
    """How a picture becomes pixel values; plain numbers, so that it pickles and travels fast.

    Args:
        size: (height, width) of the result.
        resize: (height, width) to squash to, or the length that the shorter edge becomes.
        interpolation: bilinear, bicubic, …
        mean: one per channel, of values in 0-1.
        std: one per channel, of values in 0-1.
        scale: what brings a value of 0-255 to 0-1 (in ViViT to 0-2).
        offset: subtracted after `scale` (1 in ViViT).
        scale_first: scales before resizing, as DINOv3 does; the result is then float32, not uint8.
    """

    size: tuple[int, int]
    resize: tuple[int, int] | int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1 / 255
    offset: float = 0.0
    scale_first: bool = False

    def __call__(self, frames: Tensor) -> Tensor:
        """Resizes and crops (t, 3, H, W) uint8 to (t, 3, h, w)."""
        frames = self.to_range(frames)
        height, width = frames.shape[-2:]
        target = self.resize
        if isinstance(target, int):
            short, long = min(height, width), max(height, width)
            edge = int(target * long / short)
            target = (edge, target) if height >= width else (target, edge)
        frames = self.resized(frames, target)
        top, left = (int((target[i] - self.size[i]) / 2) for i in (0, 1))
        return F.crop(frames, top, left, *self.size).contiguous()  # the rest does not travel along

    def to_range(self, frames: Tensor) -> Tensor:
        """The values that resizing works on: uint8 as they are, or already scaled float32."""
        return frames * self.scale if self.scale_first else frames

    def resized(self, frames: Tensor, size: tuple[int, int]) -> Tensor:
        """Squashes (t, 3, H, W) to `size` with this rule's antialiased interpolation."""
        return F.resize(frames, list(size), InterpolationMode(self.interpolation), antialias=True)

    def normalize(self, values: Tensor) -> Tensor:
        """What the model reads: (…, 3, h, w) float32 from what `__call__` returned."""
        mean = torch.tensor(self.mean, device=values.device)
        std = torch.tensor(self.std, device=values.device)
        if not self.scale_first:
            mean, std = (mean + self.offset) * (1.0 / self.scale), std * (1.0 / self.scale)
        return (values.float() - mean[:, None, None]) / std[:, None, None]


def pixel_rule(
    processor: Any,
    *,
    fallback_size: tuple[int, int],
    image_size: int | None = None,
    resize: str = "model",
    mean_std: str = "model",
) -> PixelRule:
    """Reads the rule out of a model's own image processor, then applies a recipe's wishes.

    Args:
        processor: an image or video processor of transformers.
        fallback_size: the model's (height, width), for a processor that does not resize.
        image_size: overrides the size; a larger edge before a crop grows in proportion.
        resize: model, squash or center_crop.
        mean_std: model, or a key of `CONSTANTS`.

    Raises:
        ModelError: the processor resizes in a way that gives no fixed size.
    """
    rule = _own_rule(processor, fallback_size)
    if image_size is not None:
        rule = _scaled(rule, image_size)
    if resize == "squash":
        rule = replace(rule, resize=rule.size)
    elif resize == "center_crop":
        rule = replace(rule, resize=max(rule.size))
    if mean_std != "model":
        mean, std = CONSTANTS[mean_std]
        rule = replace(rule, mean=mean, std=std, scale=1 / 255, offset=0.0)
    return rule


def _own_rule(processor: Any, fallback_size: tuple[int, int]) -> PixelRule:
    target = _resize_target(processor, fallback_size)
    size = (target, target) if isinstance(target, int) else target
    crop = getattr(processor, "crop_size", None)
    if getattr(processor, "do_center_crop", False) and crop is not None:
        size = (crop["height"], crop["width"])
    normalizes = getattr(processor, "do_normalize", True)
    name = type(processor).__name__
    rescales = getattr(processor, "do_rescale", True)
    # ViViT's image processor has an option for its offset, its video processor always subtracts.
    has_offset = getattr(processor, "offset", name.startswith("VivitVideo"))
    resample = getattr(processor, "resample", None)
    return PixelRule(
        size=size,
        resize=target,
        interpolation="bilinear" if resample is None else _INTERPOLATIONS[int(resample)],
        mean=tuple(processor.image_mean) if normalizes else (0.0, 0.0, 0.0),
        std=tuple(processor.image_std) if normalizes else (1.0, 1.0, 1.0),
        scale=float(processor.rescale_factor) if rescales else 1.0,
        offset=1.0 if has_offset and rescales else 0.0,
        scale_first=name.startswith("DINOv3"),
    )


def _resize_target(processor: Any, fallback_size: tuple[int, int]) -> tuple[int, int] | int:
    size = getattr(processor, "size", None)
    if not getattr(processor, "do_resize", True) or size is None:
        return fallback_size
    if size.get("height") and size.get("width"):
        return size["height"], size["width"]
    if size.get("shortest_edge") and not size.get("longest_edge"):
        return int(size["shortest_edge"])
    raise ModelError(
        f"the image processor {type(processor).__name__} resizes to {dict(size)}, so that pictures "
        "have different sizes; use a model whose processor has a height and a width"
    )


def _scaled(rule: PixelRule, image_size: int) -> PixelRule:
    size = as_pair(image_size)
    grown = image_size / max(rule.size)
    if isinstance(rule.resize, int):
        return replace(rule, size=size, resize=max(image_size, round(rule.resize * grown)))
    target = tuple(max(image_size, round(edge * grown)) for edge in rule.resize)
    return replace(rule, size=size, resize=(target[0], target[1]))
