"""Media that are already in memory, in the forms that reading a file gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmadapt.data.media.decode.errors import Unreadable
from mmadapt.data.media.video import VideoClip
from mmadapt.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image

MEMORY = "<in memory>"
"""What an error says in place of a file's name."""


def as_frames(value: Any) -> np.ndarray:
    """Frames of a video that is given as a value.

    Args:
        value: A VideoClip; an array or tensor (t, h, w, 3) or (t, 3, h, w), uint8 or floats in [0,
            1]; a list of pictures (see `as_image`) of one size.

    Returns:
        (t, h, w, 3) uint8 RGB; not a copy where the value has that form.

    Raises:
        MediaError: anything else.

    Example:
        >>> as_frames(np.zeros((4, 3, 32, 32))).shape
        (4, 32, 32, 3)
    """
    if isinstance(value, VideoClip):
        return value.frames
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value):
        pictures = [np.asarray(as_image(picture)) for picture in value]
        if len({picture.shape for picture in pictures}) > 1:
            raise _error("video", "its pictures have different sizes", "Resize them to one size.")
        return np.stack(pictures)
    array = _array(value, "video", "a VideoClip, an array, a tensor or a list of pictures")
    if array.ndim != 4 or not len(array):
        raise _error("video", f"its shape is {array.shape}", "Give it as (t, h, w, 3).")
    return _bytes(_channels_last(array, "video"), "video")


def as_image(value: Any) -> Image.Image:
    """A picture that is given as a value.

    Args:
        value: A PIL image of any mode; an array or tensor (h, w), (h, w, 3) or (3, h, w), uint8 or
            floats in [0, 1].

    Returns:
        Mode `RGB`, upright, what is transparent on white.

    Raises:
        MediaError: anything else.

    Example:
        >>> as_image(np.zeros((3, 20, 30), np.uint8)).size
        (30, 20)
    """
    from PIL import Image

    from mmadapt.data.media.decode.image import to_rgb

    if isinstance(value, Image.Image):
        try:
            return to_rgb(value)
        except Unreadable as error:
            raise _error("image", error.reason, error.advice) from None
    array = _array(value, "image", "a PIL image, an array or a tensor")
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3:
        raise _error("image", f"its shape is {array.shape}", "Give it as (h, w, 3).")
    return Image.fromarray(_bytes(_channels_last(array[None], "image")[0], "image"))


def as_waveform(value: Any, sampling_rate: int | None = None) -> np.ndarray:
    """Sound that is given as a value.

    Args:
        value: An array or tensor, (samples,) or (channels, samples): floats, or 16- or 32-bit
            integers; or, with its own rate, a pair (array, rate) or a mapping with `array` and
            `sampling_rate`.
        sampling_rate: Samples per second wanted of a value that says its own; a bare array is
            taken as it is.

    Returns:
        (samples,) float32, channels averaged.

    Raises:
        MediaError: anything else, or samples that are not finite.

    Example:
        >>> as_waveform((np.zeros((2, 8000), np.int16), 8000), sampling_rate=16000).shape
        (16000,)
    """
    from mmadapt.data.media.audio import resample

    source = sampling_rate
    if isinstance(value, dict) and {"array", "sampling_rate"} <= value.keys():
        value = (value["array"], value["sampling_rate"])
    if isinstance(value, tuple) and len(value) == 2:
        value, source = value[0], int(value[1])
    array = _array(value, "audio", "an array, a tensor, or a pair (array, sampling rate)")
    if array.ndim not in (1, 2) or not array.size:
        raise _error("audio", f"its shape is {array.shape}", "Give it as (samples,).")
    scale = -float(np.iinfo(array.dtype).min) if array.dtype.kind == "i" else 1.0
    waveform = array.astype(np.float32, copy=False) / np.float32(scale)
    if waveform.ndim == 2:
        waveform = waveform.mean(axis=0, dtype=np.float32)
    if not np.isfinite(waveform).all():
        raise _error("audio", "it has samples that are not finite numbers", "Mend its source.")
    if source is None or sampling_rate is None:
        return waveform
    return resample(waveform, source, sampling_rate)


def _array(value: Any, kind: str, wanted: str) -> np.ndarray:
    if hasattr(value, "detach"):  # a tensor, told without importing torch
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "uif":
        raise _error(kind, f"it is a {type(value).__name__}", f"Give {wanted}.")
    return value


def _channels_last(array: np.ndarray, kind: str) -> np.ndarray:
    """(t, 3, h, w) -> (t, h, w, 3)."""
    if array.shape[-1] == 3:
        return array
    if array.shape[1] == 3:
        return array.transpose(0, 2, 3, 1)
    shape = array.shape[1:] if kind == "image" else array.shape
    raise _error(kind, f"its shape {shape} has no axis of 3 colours", "Give it as (…, h, w, 3).")


def _bytes(array: np.ndarray, kind: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        return np.ascontiguousarray((array * 255).round().astype(np.uint8))
    raise _error(
        kind,
        f"its values are {array.dtype}, not uint8 or floats in [0, 1]",
        "Convert them.",
    )


def _error(kind: str, reason: str, advice: str) -> MediaError:
    return MediaError(MEMORY, reason, kind, advice)
