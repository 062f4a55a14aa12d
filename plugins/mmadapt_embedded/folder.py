"""From the name of an embedded model to its folder."""

from __future__ import annotations

import difflib
from pathlib import Path

from mmadapt.errors import ModelError

NAMES = ("lm", "vit", "ast")
WEIGHTS = Path(__file__).parent / "weights"


def resolve(name: str) -> Path:
    """Return the transformers folder of one embedded model.

    Args:
        name: ``lm``, ``vit`` or ``ast``, with or without ``embedded:`` in front.

    Raises:
        ModelError: there is no such model; the message lists those there are.

    Example:
        >>> resolve("embedded:vit").name
        'vit'
    """
    short = name.removeprefix("embedded:")
    if short in NAMES:
        return WEIGHTS / short
    near = difflib.get_close_matches(short, NAMES, n=1, cutoff=0.4)
    hint = f"; did you mean 'embedded:{near[0]}'?" if near else ""
    valid = ", ".join(f"embedded:{known}" for known in NAMES)
    raise ModelError(f"no embedded model is called '{short}': there are {valid}{hint}")
