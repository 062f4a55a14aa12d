"""The `video` operation of the reader process: which frames, which decoder, into one array."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from mmadapt.data.media.decode import sampling, video_pyav
from mmadapt.data.media.decode.container import VideoFile, announced_end, open_video
from mmadapt.data.media.decode.errors import Unreadable
from mmadapt.data.media.decode.video_pyav import Shot
from mmadapt.data.media.limits import MAX_CLIP_BYTES, MAX_VIDEO_FRAMES

Request = dict[str, Any]


def read(request: Request) -> tuple[dict[str, Any], np.ndarray]:
    """Reads frames of one file with the first decoder that manages.

    Args:
        request: `path`, `backends` (of `decord`, `pyav`, in the order to try), `sampling`,
            `num_frames`, `fps`, `start`, `end`, `offsets` (see `sampling.segment_times`), `size`
            (height, width).

    Returns:
        `timestamps`, `fps`, `duration`, `backend`; and the frames, (t, h, w, 3) uint8.

    Raises:
        Unreadable: no decoder can.
    """
    with open_video(request["path"]) as video:
        start, end = _span(video, request["start"], request["end"])
        times = _times(request, start, end)
        reasons = []
        for name in request["backends"]:
            backend = _backend(name, video)
            if backend is None:
                continue
            try:
                if times is None:
                    shots = backend.frames_between(video, start, end)
                else:
                    shots = backend.frames_at(video, times)
                timestamps, frames = _gather(shots, times, request["size"])
            except Unreadable as error:
                reasons.append(error)
                continue
            except Exception as error:  # decord's own; the next decoder may do better
                if backend is video_pyav:
                    raise
                reasons.append(Unreadable(f"{name}: {type(error).__name__}: {error}"))
                continue
            answer = {"timestamps": timestamps, "fps": video.fps, "duration": video.duration}
            return {**answer, "backend": name}, frames
    raise reasons[-1]


def _backend(name: str, video: VideoFile) -> Any:
    """The module of a decoder, None where it is not installed or not fit for this file."""
    if name == "pyav":
        return video_pyav
    try:
        importlib.import_module("decord")
    except (ImportError, OSError):  # OSError: its libraries do not load here
        return None
    from mmadapt.data.media.decode import video_decord

    return video_decord if video_decord.is_fit(video) else None


def _span(video: VideoFile, start: float | None, end: float | None) -> tuple[float, float]:
    """The wanted part of the video in seconds; refuses one that the file does not have."""
    begin, stop = start or 0.0, video.duration if end is None else min(end, video.duration)
    if begin >= video.duration:
        raise Unreadable(
            f"start={begin:g} s is not before its end ({video.duration:.2f} s)",
            "Correct start and end in the data.",
        )
    announced, actual = announced_end(video), video.first + video.duration
    wanted = float("inf") if end is None else end + video.first
    if announced is not None and actual < min(announced, wanted) - video.slack:
        raise Unreadable(
            f"it ends at {actual:.2f} s of the {announced:.2f} s that it announces; it is cut",
            f"Fetch it again, or read what there is with end={video.duration:.2f}.",
        )
    return begin, stop


def _times(request: Request, start: float, end: float) -> list[float] | None:
    """The moments to look at, None for every frame."""
    count = request["num_frames"]
    if request["sampling"] == "all":
        return None
    if request["sampling"] == "fps":
        times = sampling.rate_times(start, end, request["fps"], count)
    else:
        times = sampling.segment_times(start, end, count, request["offsets"])
    _check_count(len(times))
    return times


def _check_count(count: int) -> None:
    if count > MAX_VIDEO_FRAMES:
        raise Unreadable(
            f"more than {MAX_VIDEO_FRAMES} frames are asked for",
            "Ask for a shorter span (start, end), a lower fps, or num_frames.",
        )


def _gather(
    shots: Iterable[Shot], times: list[float] | None, size: list[int] | None
) -> tuple[list[float], np.ndarray]:
    """Frames into one array (t, h, w, 3); all get the size of the first unless one is given."""
    timestamps: list[float] = []
    if times is None:
        pictures = []
        for time, picture in _fitted(shots, size):
            timestamps.append(time)
            pictures.append(picture)
            _check_count(len(pictures))
            _check_bytes(len(pictures) * picture.nbytes)
        return timestamps, np.stack(pictures)
    frames: np.ndarray | None = None
    for time, picture in _fitted(shots, size):
        if frames is None:
            _check_bytes(len(times) * picture.nbytes)
            frames = np.empty((len(times), *picture.shape), np.uint8)
        frames[len(timestamps)] = picture
        timestamps.append(time)
    assert frames is not None
    return timestamps, frames


def _check_bytes(count: int) -> None:
    if count > MAX_CLIP_BYTES:
        raise Unreadable(
            f"its frames take more than {MAX_CLIP_BYTES // 2**20} MiB",
            "Ask for fewer frames, or for smaller ones with size=(height, width).",
        )


def _fitted(shots: Iterable[Shot], size: list[int] | None) -> Iterator[Shot]:
    last: np.ndarray | None = None
    for time, picture in shots:
        size = size or list(picture.shape[:2])
        if last is None or picture is not last:
            last, fitted = picture, _resize(picture, size)
        yield time, fitted


def _resize(picture: np.ndarray, size: list[int]) -> np.ndarray:
    height, width = size
    if picture.shape[:2] == (height, width):
        return picture
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
