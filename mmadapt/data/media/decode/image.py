"""The `image` operation of the reader process, and what makes any picture plain RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmadapt.data.media.decode.errors import Unreadable
from mmadapt.data.media.limits import MAX_IMAGE_PIXELS


def read(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Reads one picture, the first of an animation.

    Args:
        request: `path`.

    Returns:
        An empty header; (h, w, 3) uint8 RGB, upright.

    Raises:
        Unreadable: not a picture, too large, damaged.
    """
    Image.MAX_IMAGE_PIXELS = None  # the size is checked below, with an error that says more
    try:
        with Image.open(request["path"]) as image:
            _check_size(image)
            image.load()
            return {}, np.asarray(to_rgb(image))
    except UnidentifiedImageError:
        raise Unreadable("it is not a picture of a format that Pillow knows") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's formats raise
        raise Unreadable(f"the picture is damaged ({error})") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Any picture as plain RGB: upright by its EXIF tag, what is transparent on white, 8 bits.

    Args:
        image: Any mode; 16-bit grey is scaled to 8 bits.

    Returns:
        Mode `RGB`.

    Raises:
        Unreadable: floating-point pixels, which have no agreed range.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise Unreadable(
            "its pixels are floating-point numbers, which have no agreed range",
            "Save it with 8 or 16 bits.",
        )
    if image.mode.startswith("I"):  # 16 bits, which `convert` would clip
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray((grey / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(rgba, mask=rgba.getchannel("A"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise Unreadable(
            f"it has {width} x {height} pixels, more than {MAX_IMAGE_PIXELS:,} in all",
            "Scale it down first.",
        )
