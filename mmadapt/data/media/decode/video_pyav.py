"""Reads video frames with PyAV: seeks to what is wanted, so that a long file costs no more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from mmadapt.data.media.decode.container import VideoFile
from mmadapt.data.media.decode.errors import Unreadable

Shot = tuple[float, np.ndarray]
"""A time in seconds and its picture, (h, w, 3) uint8 RGB."""

_WITH_FULL_INDEX = frozenset({"mov", "avi"})
"""Formats whose index has every frame; that of others may know only what was read so far."""


def frames_at(video: VideoFile, times: Sequence[float]) -> Iterator[Shot]:
    """The frames that a player shows at given times.

    Args:
        video: An open video.
        times: Seconds, ascending.

    Yields:
        The frame's own time and picture, once for each of `times`; a frame that is shown at several
        of them is converted once and yielded as the same array.

    Raises:
        Unreadable: nothing can be decoded there.
    """
    cursor, painter = _Cursor(video), _Painter(video.rotation)
    last: Any = None
    shot: Shot | None = None
    for time in times:
        frame = cursor.shown_at(time)
        if shot is None or frame is not last:
            shot, last = (cursor.time_of(frame), painter.paint(frame)), frame
        yield shot


def frames_between(video: VideoFile, start: float, end: float) -> Iterator[Shot]:
    """Every frame of a span, the one shown at its start included.

    Args:
        video: An open video.
        start: Seconds.
        end: Seconds; a frame that starts at `end` is left out.
    """
    cursor, painter = _Cursor(video), _Painter(video.rotation)
    frame: Any = cursor.shown_at(start)
    while frame is not None and cursor.time_of(frame) < end - video.tolerance:
        yield cursor.time_of(frame), painter.paint(frame)
        frame = cursor.step()


class _Cursor:
    """Walks the frames of a video in display order, forward, and jumps to key frames."""

    def __init__(self, video: VideoFile) -> None:
        self._video = video
        self._unit = float(video.stream.time_base or 0) or 1.0
        self._frames: Iterator[Any] = iter(())
        self._shown: Any = None
        self._coming: Any = None
        self._longest_run = 2.0  # seconds decoded after a jump; shorter ways are walked
        self._jump(0.0)

    def time_of(self, frame: Any) -> float:
        """Seconds after the first frame."""
        return 0.0 if frame.time is None else float(frame.time) - self._video.first

    def shown_at(self, time: float) -> Any:
        """The last frame that starts at or before a time; the first frame if none does."""
        limit = time + self._video.tolerance
        if self._worth_a_jump(limit):
            self._jump_before(limit)
        self._walk(limit)
        frame = self._shown or self.step()
        if frame is None:
            raise Unreadable(f"no frame can be decoded at {time:.3f} s; the file is damaged")
        self._check_reach(frame, time)
        return frame

    def step(self) -> Any:
        """The next frame, None at the end."""
        self._shown, self._coming = self._coming, next(self._frames, None)
        return self._shown

    def _walk(self, limit: float) -> None:
        while self._coming is not None and self.time_of(self._coming) <= limit:
            self.step()

    def _position(self) -> float:
        frame = self._coming or self._shown
        return 0.0 if frame is None else self.time_of(frame)

    def _worth_a_jump(self, time: float) -> bool:
        """Whether a key frame lies between here and there, as far as the file's index knows."""
        index = self._video.stream.index_entries
        entry = index.search_timestamp(self._ticks(time)) if len(index) else -1
        if entry >= 0:
            key = index[entry].timestamp * self._unit - self._video.first
            if key > self._position() + self._video.tolerance:
                return True
        has_all = self._video.container.format.name.split(",")[0] in _WITH_FULL_INDEX
        return not (has_all and len(index)) and time - self._position() > self._longest_run

    def _jump_before(self, time: float) -> None:
        """Jumps to a key frame whose picture is shown at or before a time.

        A seek goes by decoding time, so it may land on a key frame that is shown later, and frames
        that need an earlier one are dropped after it; then it starts further back.
        """
        for back in (0.0, 1.0, 5.0, 30.0):
            if not self._jump(max(0.0, time - back)):
                break
            if self._coming is not None and self.time_of(self._coming) <= time:
                self._longest_run = max(self._longest_run, time - self.time_of(self._coming))
                return
        self._jump(0.0)
        self._longest_run = float("inf")  # this format does not seek

    def _jump(self, time: float) -> bool:
        try:
            ticks = self._ticks(time) if time > 0 else min(0, self._ticks(0.0))
            self._video.container.seek(ticks, stream=self._video.stream)
        except av.FFmpegError:
            return False
        self._frames = _decode(self._video)
        self._shown, self._coming = None, next(self._frames, None)
        return True

    def _ticks(self, time: float) -> int:
        return int((time + self._video.first) / self._unit)

    def _check_reach(self, frame: Any, time: float) -> None:
        """The last frame may stay on screen; data that end far too early are something else."""
        if self._coming is not None:
            return
        until = self.time_of(frame) + (frame.duration or 0) * self._unit
        if time > until + self._video.slack:
            raise Unreadable(
                f"its data end at {until:.2f} s although its header announces more; "
                "the file is damaged or cut short"
            )


def _decode(video: VideoFile) -> Iterator[Any]:
    for packet in video.container.demux(video.stream):
        with contextlib.suppress(av.FFmpegError):  # a damaged packet: the next may be well
            yield from packet.decode()


class _Painter:
    """Makes upright RGB pictures of decoded frames; what is transparent is on white."""

    def __init__(self, rotation: int) -> None:
        self._rotation = rotation
        self._reformatter = VideoReformatter()  # keeps its tables from frame to frame

    def paint(self, frame: Any) -> np.ndarray:
        if any(component.is_alpha for component in frame.format.components):
            rgba = self._convert(frame, "rgba")
            alpha = rgba[..., 3:].astype(np.uint16)
            picture = ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        else:
            picture = self._convert(frame, "rgb24")
        return np.rot90(picture, self._rotation // 90) if self._rotation else picture

    def _convert(self, frame: Any, pixel_format: str) -> Any:
        return self._reformatter.reformat(frame, format=pixel_format, threads=1).to_ndarray()
