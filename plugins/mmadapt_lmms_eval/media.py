"""What lmms-eval's tasks give as media, as media parts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmadapt.errors import DataError
from mmadapt.types import MediaPart, Modality

VIDEO = {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".gif", ".flv"}
AUDIO = {".wav", ".flac", ".mp3", ".ogg", ".m4a", ".opus", ".aac"}
IMAGE = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}


def media_parts(visuals: Any, called: str) -> list[MediaPart]:
    """Turns what a task's `doc_to_visual` returns into media parts, in order.

    Args:
        visuals: None, one medium, or a list of media: pictures of PIL, arrays (h, w, 3) and
            (t, h, w, 3), paths, sounds as `{"array", "sampling_rate"}` or as `datasets` decodes
            them.
        called: the document, for errors.

    Raises:
        DataError: a medium of another kind.

    Example:
        >>> media_parts(["clip.mp4", "talk.wav"], "task/0")
        [{'type': 'video', 'path': 'clip.mp4'}, {'type': 'audio', 'path': 'talk.wav'}]
    """
    if visuals is None:
        return []
    one = isinstance(visuals, str | os.PathLike | Mapping | np.ndarray | Image.Image)
    given: Iterable[Any] = [visuals] if one or not isinstance(visuals, Iterable) else visuals
    return [_part(value, called) for value in given if value is not None]


def _part(value: Any, called: str) -> MediaPart:
    if isinstance(value, str | os.PathLike):
        return {"type": _modality(Path(value), called), "path": os.fspath(value)}
    if isinstance(value, Image.Image):
        return {"type": "image", "value": value}
    if isinstance(value, np.ndarray) and value.ndim in (3, 4):
        return {"type": "image" if value.ndim == 3 else "video", "value": value}
    if isinstance(value, Mapping) and {"array", "sampling_rate"} <= set(value):
        sound = np.asarray(value["array"], dtype=np.float32)
        return {"type": "audio", "value": (sound, int(value["sampling_rate"]))}
    if hasattr(value, "get_all_samples"):  # torchcodec's decoder, as `datasets` gives it
        samples = value.get_all_samples()
        return {"type": "audio", "value": (samples.data.mean(dim=0), int(samples.sample_rate))}
    reason = f"its medium is a {type(value).__name__}; known are pictures, arrays, paths and sounds"
    raise DataError(called, None, reason)


def _modality(path: Path, called: str) -> Modality:
    suffix = path.suffix.lower()
    kinds: dict[Modality, set[str]] = {"video": VIDEO, "audio": AUDIO, "image": IMAGE}
    for kind, suffixes in kinds.items():
        if suffix in suffixes:
            return kind
    raise DataError(called, None, f"{path} is no known kind of media file ('{suffix}')")
