"""Draw anti-aliased shapes on noisy backgrounds, many frames at once, with numpy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mmadapt_shapes.world import SHAPES

SIZE = 64
"""Side of every frame and picture, in pixels."""

Plane = NDArray[np.floating]


def _circle(x: Plane, y: Plane) -> Plane:
    return np.hypot(x, y) - 1.0


def _square(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.abs(x), np.abs(y)) - 0.85


def _triangle(x: Plane, y: Plane) -> Plane:
    return np.maximum(y - 0.75, 0.894 * np.abs(x) - 0.447 * (y + 1.05))


def _cross(x: Plane, y: Plane) -> Plane:
    ax, ay = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(ax - 0.34, ay - 1.0), np.maximum(ay - 0.34, ax - 1.0))


def _ring(x: Plane, y: Plane) -> Plane:
    return np.abs(np.hypot(x, y) - 0.78) - 0.24


# Distance to the outline in units of the radius, negative inside; y grows downward.
_OUTLINES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
}


def background(rng: np.random.Generator, count: int) -> NDArray[np.floating]:
    """Draw dim backgrounds: a tinted grey, a linear gradient and fine noise.

    Args:
        rng: The random generator that decides everything.
        count: How many backgrounds.

    Returns:
        Values on the 0 to 255 scale, float32, not rounded.
    """
    grid = np.linspace(-1.0, 1.0, SIZE, dtype=np.float32)
    base = rng.uniform(20, 80, (count, 1, 1, 1)) + rng.uniform(-10, 10, (count, 1, 1, 3))
    slope = rng.uniform(-15, 15, (2, count, 1, 1, 1))
    noise = rng.standard_normal((count, SIZE, SIZE, 1), dtype=np.float32)
    ramp = slope[0] * grid[:, None, None] + slope[1] * grid[None, :, None]
    return (base + ramp).astype(np.float32) + noise * rng.uniform(0, 5, (count, 1, 1, 1)).astype(
        np.float32
    )


def draw(
    shape: np.ndarray,
    colour: NDArray[np.floating],
    centre: NDArray[np.floating],
    radius: NDArray[np.floating],
    backgrounds: NDArray[np.floating],
) -> NDArray[np.uint8]:
    """Paint one shape on each background.

    Args:
        shape: Names out of ``SHAPES``, one per frame (an array of strings, length n).
        colour: Red, green and blue on the 0 to 255 scale.
        centre: x and y of the centre in pixels, from the top left.
        radius: Radius in pixels.
        backgrounds: What lies behind, as `background` draws it.

    Returns:
        RGB frames.
    """
    pixel = np.arange(SIZE, dtype=np.float32) + 0.5
    r = radius.astype(np.float32)[:, None, None]
    x = (pixel[None, None, :] - centre[:, 0, None, None].astype(np.float32)) / r
    y = (pixel[None, :, None] - centre[:, 1, None, None].astype(np.float32)) / r
    cover = np.zeros((len(shape), SIZE, SIZE), np.float32)
    for name in SHAPES:
        rows = np.flatnonzero(shape == name)
        if rows.size:
            distance = _OUTLINES[name](*np.broadcast_arrays(x[rows], y[rows]))
            cover[rows] = np.clip(0.5 - distance * r[rows], 0.0, 1.0)
    alpha = cover[..., None]
    frames = backgrounds * (1 - alpha) + colour.astype(np.float32)[:, None, None, :] * alpha
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)
