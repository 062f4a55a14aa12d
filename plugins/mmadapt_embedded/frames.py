"""Single frames for the vision transformer's pretraining, from training combinations only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmadapt_shapes.draw import SIZE, background, draw
from mmadapt_shapes.scenes import Scene, image_scene, picture_of, video_scene
from mmadapt_shapes.world import COLOURS, SHAPES, combinations, split_of

PATCH = 8
_VIDEO_SHARE = 0.7


@dataclass(frozen=True)
class Frames:
    """A batch of frames and what they show.

    Attributes:
        pixel_values: Normalised to -1 … 1, as the image processor does.
        colour: Index into ``COLOURS``.
        shape: Index into ``SHAPES``.
        place: x, y and radius, each about -1 … 1.
        cover: Share of each patch that the shape covers.
    """

    pixel_values: Tensor
    colour: Tensor
    shape: Tensor
    place: Tensor
    cover: Tensor


def _held_out(colour: str, shape: str, centre: np.ndarray, radius: float) -> bool:
    """Say whether a clip's frame would also be a picture of a held-out picture combination."""
    words = picture_of(centre, radius)
    if words is None:
        return False
    picture = {"colour": colour, "shape": shape, "size": words[0], "position": words[1]}
    return split_of("image", picture) != "train"


def _moment(rng: np.random.Generator) -> tuple[str, Scene, int]:
    """Draw a colour, a scene of a training combination and a frame of it."""
    while True:
        video = rng.random() < _VIDEO_SHARE
        options = _TRAIN_CLIPS if video else _TRAIN_PICTURES
        combination = options[rng.integers(len(options))]
        scene = (video_scene if video else image_scene)(rng, combination)
        t = int(rng.integers(len(scene.radius)))
        colour = combination["colour"]
        if not video or not _held_out(colour, scene.shape, scene.centre[t], scene.radius[t]):
            return colour, scene, t


_TRAIN_CLIPS = combinations("video", "train")
_TRAIN_PICTURES = combinations("image", "train")


def _like_video(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Halve the colour resolution and add a little noise, as an encoded clip would."""
    rgb = frames.astype(np.float32)
    luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    chroma = rgb - luma[..., None]
    n, h, w, _ = chroma.shape
    coarse = chroma.reshape(n, h // 2, 2, w // 2, 2, 3).mean((2, 4))
    chroma = coarse.repeat(2, axis=1).repeat(2, axis=2)
    noise = 2.0 * rng.standard_normal(luma.shape, dtype=np.float32)
    return np.clip(luma[..., None] + chroma + noise[..., None], 0, 255)


def frame_batch(rng: np.random.Generator, count: int) -> Frames:
    """Draw a batch of frames with their labels.

    Args:
        rng: The generator that decides everything.
        count: Frames in the batch.
    """
    moments = [_moment(rng) for _ in range(count)]
    shape = np.array([scene.shape for _, scene, _ in moments])
    colour = np.stack([scene.colour for _, scene, _ in moments])
    centre = np.stack([scene.centre[t] for _, scene, t in moments])
    radius = np.stack([scene.radius[t] for _, scene, t in moments])
    plain = draw(shape, colour, centre, radius, background(rng, count))
    mask = draw(
        shape, np.full((count, 3), 255.0), centre, radius, np.zeros((count, SIZE, SIZE, 3), "f4")
    )
    soft = rng.random(count) < _VIDEO_SHARE
    frames = np.where(soft[:, None, None, None], _like_video(plain, rng), plain)
    pixels = torch.from_numpy(frames.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1)
    side = SIZE // PATCH
    cover = mask[..., 0].reshape(count, side, PATCH, side, PATCH).mean((2, 4)) / 255
    place = np.concatenate([centre / (SIZE / 2) - 1, (radius[:, None] - 10) / 4], axis=1)
    names = list(COLOURS)
    return Frames(
        pixels.contiguous(),
        torch.tensor([names.index(name) for name, _, _ in moments]),
        torch.tensor([SHAPES.index(name) for name in shape]),
        torch.from_numpy(place.astype(np.float32)),
        torch.from_numpy(cover.reshape(count, -1).astype(np.float32)),
    )
