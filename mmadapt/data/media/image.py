"""Reads pictures, within a time limit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mmadapt.data.media.files import read_file

if TYPE_CHECKING:
    from PIL import Image


def read_image(path: str | os.PathLike[str], timeout: float = 60.0) -> Image.Image:
    """Reads a picture file (png, jpeg, webp, gif, tiff, bmp, whatever Pillow reads) as plain RGB.

    The EXIF orientation is applied, transparent parts are shown on white, 16 bits are scaled to 8,
    and of an animation the first picture comes.

    Args:
        path: The file.
        timeout: Seconds that decoding may take.

    Returns:
        A picture of mode `RGB`.

    Raises:
        MediaError: the file cannot be read, or is too large.

    Example:
        >>> read_image("cat.png").mode
        'RGB'
    """
    from PIL import Image

    _, pixels = read_file("image", path, timeout=timeout)
    return Image.fromarray(pixels)
