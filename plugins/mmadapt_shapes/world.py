"""The *shapes* world: what exists in it, how it is worded, and which combinations are held out.

Every medium is a product of a few fields (a clip is a colour, a shape and a motion). A combination
belongs to exactly one split, by a Latin-square rule: training sees each pair of values, but never
the held-out combination itself, so the test split measures composition, not memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Literal, get_args

Medium = Literal["video", "image", "audio"]
Split = Literal["train", "validation", "test"]
Combination = Mapping[str, str]

SPLITS: tuple[Split, ...] = get_args(Split)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 35, 35),
    "green": (40, 200, 50),
    "blue": (45, 70, 235),
    "yellow": (235, 220, 40),
    "purple": (190, 50, 215),
    "cyan": (40, 215, 225),
    "white": (240, 240, 240),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring")
MOTIONS = (
    "moving left",
    "moving right",
    "moving up",
    "moving down",
    "standing still",
    "growing",
    "shrinking",
)
POSITIONS = ("top left", "top right", "middle", "bottom left", "bottom right")
SIZES = ("small", "large")
PITCHES = ("low", "high")
TIMBRES = ("pure", "buzzing", "hollow", "noisy")
CONTOURS = ("rising", "falling", "steady", "wavering")
RHYTHMS = ("without pause", "in slow pulses", "in quick pulses")

FIELDS: dict[Medium, dict[str, tuple[str, ...]]] = {
    "video": {"colour": tuple(COLOURS), "shape": SHAPES, "motion": MOTIONS},
    "image": {
        "colour": tuple(COLOURS),
        "shape": SHAPES,
        "size": SIZES,
        "position": POSITIONS,
    },
    "audio": {"pitch": PITCHES, "timbre": TIMBRES, "contour": CONTOURS, "rhythm": RHYTHMS},
}

CAPTIONS: dict[Medium, str] = {
    "video": "a {colour} {shape} {motion}",
    "image": "a {size} {colour} {shape} in the {position}",
    "audio": "a {pitch} {timbre} tone {contour} {rhythm}",
}

QUESTIONS: dict[Medium, dict[str, str]] = {
    "video": {
        "colour": "what colour is the shape?",
        "shape": "which shape is shown?",
        "motion": "what is the shape doing?",
    },
    "image": {
        "colour": "what colour is the shape?",
        "shape": "which shape is shown?",
        "size": "what size is the shape?",
        "position": "where is the shape?",
    },
    "audio": {
        "pitch": "is the tone low or high?",
        "timbre": "what kind of tone is heard?",
        "contour": "how does the pitch go?",
        "rhythm": "how is the tone played?",
    },
}

_HELD_OUT: dict[int, Split] = {0: "test", 1: "validation"}
_MODULUS = 7
_WEIGHTS = (1, 2, 3, 5)


def split_of(medium: Medium, combination: Combination) -> Split:
    """Return the one split that ``combination`` belongs to.

    Args:
        medium: ``"video"``, ``"image"`` or ``"audio"``.
        combination: One value for each of the medium's fields.

    Returns:
        ``"test"`` for residue 0 of the weighted sum of the value indices modulo 7, ``"validation"``
        for residue 1, else ``"train"``: about 14, 14 and 71 % of the combinations.

    Example:
        >>> split_of("video", {"colour": "red", "shape": "circle", "motion": "moving left"})
        'test'
    """
    fields = FIELDS[medium]
    indices = (values.index(combination[name]) for name, values in fields.items())
    residue = (
        sum(weight * index for weight, index in zip(_WEIGHTS, indices, strict=False)) % _MODULUS
    )
    return _HELD_OUT.get(residue, "train")


def all_combinations(medium: Medium) -> list[dict[str, str]]:
    """Return every combination of a medium's field values, whatever its split."""
    fields = FIELDS[medium]
    return [dict(zip(fields, values, strict=True)) for values in product(*fields.values())]


def combinations(medium: Medium, split: Split) -> list[dict[str, str]]:
    """Return the combinations of one split, in a fixed order."""
    return [c for c in all_combinations(medium) if split_of(medium, c) == split]


def caption(medium: Medium, combination: Combination) -> str:
    """Return the caption of a combination, without the head's prompt ("a video of").

    Example:
        >>> caption("video", {"colour": "red", "shape": "ring", "motion": "growing"})
        'a red ring growing'
    """
    return CAPTIONS[medium].format_map(combination)


def joint_caption(video: Combination, audio: Combination) -> str:
    """Return the caption of a clip with a sound: it names both."""
    return f"{caption('video', video)} with {caption('audio', audio)}"
