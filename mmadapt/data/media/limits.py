"""What a media file may cost at most: a small file can unpack to more than memory holds.

An environment variable `MMADAPT_<NAME>` changes the limit of that name, a whole number above 0.
"""

from __future__ import annotations

import os


def _limit(name: str, default: int) -> int:
    """The default, or what the environment says; what is no such number does not count."""
    value = os.environ.get(f"MMADAPT_{name}", "")
    return int(value) if value.isascii() and value.isdigit() and int(value[:18]) else default


MAX_IMAGE_PIXELS = _limit("MAX_IMAGE_PIXELS", 2**27)
"""Pixels of one picture (134 million: the picture of a 108-megapixel phone fits)."""

MAX_VIDEO_SIDE = _limit("MAX_VIDEO_SIDE", 8192)
"""Pixels along either side of a video frame (8K)."""

MAX_VIDEO_FRAMES = _limit("MAX_VIDEO_FRAMES", 8192)
"""Frames that one read returns."""

MAX_CLIP_BYTES = _limit("MAX_CLIP_BYTES", 2**31)
"""Bytes of the frames that one read returns (2 GiB)."""

MAX_AUDIO_SECONDS = float(_limit("MAX_AUDIO_SECONDS", 3600))
"""Seconds of sound that one read returns."""

DECORD_MAX_BYTES = 2**26
"""Larger files go to PyAV, which seeks: decord reads a whole file to index it (64 MiB)."""

DECORD_MAX_SECONDS = 300.0
"""Longer files go to PyAV, for the same reason."""
