"""Reads video frames with decord, where decord is known to return the frames that were asked for.

Compared frame by frame with a full decode (random indices, key frames every 1 to 250 frames),
decord 0.6 is exact for H.264, VP8 and VP9 in MP4, MOV, Matroska and WebM. It silently returns other
frames for HEVC and for MPEG-4 with B frames, for most AVI files and for MPEG-TS; it fails on
rotated videos, GIF and AV1; and it reads a whole file to index it. All those are left to PyAV.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mmadapt.data.media.decode.container import VideoFile
from mmadapt.data.media.decode.errors import Unreadable
from mmadapt.data.media.decode.video_pyav import Shot
from mmadapt.data.media.limits import DECORD_MAX_BYTES, DECORD_MAX_SECONDS

CODECS = frozenset({"h264", "vp8", "vp9"})
FORMATS = frozenset({"mov", "matroska"})


def is_fit(video: VideoFile) -> bool:
    """Whether decord reads this file exactly and without reading much more than it needs."""
    return (
        video.stream.codec_context.codec.canonical_name in CODECS
        and video.container.format.name.split(",")[0] in FORMATS
        and video.rotation == 0
        and video.duration <= DECORD_MAX_SECONDS
        and os.stat(video.path).st_size <= DECORD_MAX_BYTES
    )


def frames_at(video: VideoFile, times: Sequence[float]) -> Iterator[Shot]:
    """The frames that a player shows at given times.

    Args:
        video: An open video.
        times: Seconds, ascending.

    Yields:
        The frame's own time and picture, once for each of `times`; a frame that is shown at several
        of them is decoded once and yielded as the same array.

    Raises:
        Unreadable: decord finds fewer frames than the file holds.
    """
    reader, starts = _open(video)
    indices = np.searchsorted(starts, np.asarray(times) + video.tolerance, side="right") - 1
    return _pictures(reader, starts, indices.clip(0).tolist())


def frames_between(video: VideoFile, start: float, end: float) -> Iterator[Shot]:
    """Every frame of a span, the one shown at its start included.

    Args:
        video: An open video.
        start: Seconds.
        end: Seconds; a frame that starts at `end` is left out.
    """
    reader, starts = _open(video)
    first = max(0, int(np.searchsorted(starts, start + video.tolerance, side="right")) - 1)
    last = int(np.searchsorted(starts, end - video.tolerance, side="left"))
    return _pictures(reader, starts, list(range(first, last)))


def _open(video: VideoFile) -> tuple[Any, np.ndarray]:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(video.path, num_threads=1)
    spans = reader.get_frame_timestamp(np.arange(len(reader))).astype(np.float64)
    starts = np.round(spans[:, 0] - spans[0, 0], 6)
    if np.any(np.diff(starts) < 0) or starts[-1] < video.duration - video.slack:
        raise Unreadable(f"decord finds frames up to {starts[-1]:.2f} s only")
    return reader, starts


def _pictures(reader: Any, starts: np.ndarray, indices: Sequence[int]) -> Iterator[Shot]:
    shown, shot = -1, None
    for index in indices:
        if shot is None or index != shown:
            picture = reader[index].asnumpy()
            shown, shot = index, (float(starts[index]), picture)
        yield shot
