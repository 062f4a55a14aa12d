"""Choose a scene for a combination: where the shape stands, how large it is, how far it goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmadapt_shapes.draw import SIZE, background, draw
from mmadapt_shapes.world import COLOURS, Combination

NUM_FRAMES = 8
"""Frames of a clip."""

_SMALLEST, _LARGEST = 6.0, 14.0
_DIRECTIONS = {
    "moving left": (-1.0, 0.0),
    "moving right": (1.0, 0.0),
    "moving up": (0.0, -1.0),
    "moving down": (0.0, 1.0),
}
_CENTRES = {
    "top left": (0.27, 0.27),
    "top right": (0.73, 0.27),
    "middle": (0.5, 0.5),
    "bottom left": (0.27, 0.73),
    "bottom right": (0.73, 0.73),
}
_RADII = {"small": (6.0, 8.0), "large": (11.5, 14.0)}


@dataclass(frozen=True)
class Scene:
    """One shape over time.

    Attributes:
        shape: A name out of ``SHAPES``.
        colour: Red, green, blue on the 0 to 255 scale.
        centre: x and y in pixels for each frame.
        radius: Pixels, for each frame.
    """

    shape: str
    colour: NDArray[np.floating]
    centre: NDArray[np.floating]
    radius: NDArray[np.floating]

    def frames(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Draw the scene before one background that stays still."""
        count = len(self.radius)
        behind = np.repeat(background(rng, 1), count, axis=0)
        shape = np.full(count, self.shape)
        colour = np.repeat(self.colour[None], count, axis=0)
        return draw(shape, colour, self.centre, self.radius, behind)


def _colour(rng: np.random.Generator, name: str) -> NDArray[np.floating]:
    return np.clip(np.array(COLOURS[name]) + rng.uniform(-14, 14, 3), 0, 255)


def _travel(rng: np.random.Generator, direction: tuple[float, float], margin: float) -> np.ndarray:
    """Return start and end centres: most of the frame's width apart, wholly inside the frame."""
    room = SIZE - 2 * margin
    length = room * rng.uniform(0.8, 1.0)
    start = margin + rng.uniform(0, room, 2)
    for axis, sign in enumerate(direction):
        if sign:
            low = margin + rng.uniform(0, room - length)
            start[axis] = low if sign > 0 else low + length
    return np.stack([start, start + length * np.array(direction)])


def video_scene(rng: np.random.Generator, combination: Combination) -> Scene:
    """Draw the random part of a clip: place, size, speed, shade.

    Args:
        rng: The generator that decides it.
        combination: ``colour``, ``shape`` and ``motion``.
    """
    motion = combination["motion"]
    time = np.linspace(0.0, 1.0, NUM_FRAMES)
    if motion in ("growing", "shrinking"):
        small, large = rng.uniform(_SMALLEST, 7.5), rng.uniform(12.0, _LARGEST)
        ends = (small, large) if motion == "growing" else (large, small)
    else:
        ends = (rng.uniform(7.0, 12.0),) * 2
    radius = ends[0] + (ends[1] - ends[0]) * time
    margin = radius.max() + 2.0
    centres = _travel(rng, _DIRECTIONS.get(motion, (0.0, 0.0)), margin)
    centre = centres[0] + (centres[1] - centres[0]) * time[:, None]
    return Scene(combination["shape"], _colour(rng, combination["colour"]), centre, radius)


def image_scene(rng: np.random.Generator, combination: Combination) -> Scene:
    """Draw the random part of a picture: a still scene of one frame.

    Args:
        rng: The generator that decides it.
        combination: ``colour``, ``shape``, ``size`` and ``position``.
    """
    centre = SIZE * np.array(_CENTRES[combination["position"]]) + rng.uniform(-3.0, 3.0, 2)
    radius = rng.uniform(*_RADII[combination["size"]])
    colour = _colour(rng, combination["colour"])
    return Scene(combination["shape"], colour, centre[None], np.array([radius]))


def picture_of(centre: np.ndarray, radius: float) -> tuple[str, str] | None:
    """Return the size and position words of a frame, or None where it is between the words."""
    sizes = [name for name, (low, high) in _RADII.items() if low <= radius <= high]
    near = [n for n, c in _CENTRES.items() if np.abs(centre - SIZE * np.array(c)).max() <= 3.0]
    return (sizes[0], near[0]) if sizes and near else None
