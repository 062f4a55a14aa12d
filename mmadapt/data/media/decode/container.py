"""Opens a video or sound file with PyAV and finds out what it holds, before anything is decoded."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from mmadapt.data.media.decode.errors import Unreadable
from mmadapt.data.media.limits import MAX_VIDEO_SIDE

_NOT_A_RECORDING = re.compile(r"image2|\w+_pipe|tty|hls|dash|concat|applehttp|webm_dash_manifest")
"""Formats of FFmpeg that are pictures, text, or lists of other files and addresses."""


@dataclass
class VideoFile:
    """An open video and what is known of it; times are seconds after its first frame.

    Args:
        path: The file.
        container: PyAV's handle, positioned anywhere.
        stream: Its video track, decoding on one thread.
        first: Time of the first frame on the track's own clock.
        duration: End of the last frame.
        fps: Mean frames per second.
        rotation: Degrees counter-clockwise that a player turns the picture by.
    """

    path: str
    container: InputContainer
    stream: VideoStream
    first: float
    duration: float
    fps: float
    rotation: int

    @property
    def tolerance(self) -> float:
        """How much earlier than its time stamp a frame counts as shown: clocks of ms round."""
        return min(1e-3, 0.25 / self.fps)

    @property
    def slack(self) -> float:
        """How much less than announced a file may hold before it counts as cut short."""
        return max(1.0, 0.05 * self.duration)


@contextlib.contextmanager
def open_container(path: str, wanted: str) -> Iterator[InputContainer]:
    """Opens a file for demuxing; only the file itself, nothing that it refers to.

    Args:
        path: Absolute path.
        wanted: `video` or `audio`, for the error.

    Raises:
        Unreadable: FFmpeg does not know the format, or it is no recording; also for FFmpeg's errors
            while it is open.
    """
    av.logging.set_level(av.logging.PANIC)
    article = "a video" if wanted == "video" else "an audio"
    try:
        container = av.open(path, metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unreadable(f"it is not {article} file, or it is damaged (FFmpeg: {reason})") from None
    with container:
        if _NOT_A_RECORDING.fullmatch(container.format.name.split(",")[0]):
            raise Unreadable(f"it is not {article} file but {container.format.long_name!r}")
        try:
            yield container
        except av.FFmpegError as error:
            raise Unreadable(f"its {wanted} is damaged (FFmpeg: {error.strerror})") from None


@contextlib.contextmanager
def open_video(path: str) -> Iterator[VideoFile]:
    """Opens a video and measures it: reads its header, its first frame and its last packets.

    Args:
        path: Absolute path.

    Raises:
        Unreadable: not a video, no video track, too large, damaged, or cut short.
    """
    with open_container(path, "video") as container:
        stream = _video_track(container)
        stream.codec_context.thread_count = 1  # loader workers already run side by side
        frame = _first_frame(container, stream)
        _check_size(frame.width, frame.height)
        first = frame.time or 0.0
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        duration = max(_last_time(container, stream, fps) - first, 0.5 / fps)
        rotation = int(frame.rotation) % 360
        video = VideoFile(path, container, stream, first, duration, fps, rotation)
        yield video


def announced_end(video: VideoFile) -> float | None:
    """Where the file's header says that the video track ends; None where it does not say."""
    stream = video.stream
    if video.container.format.name == "avi" and stream.frames:  # FFmpeg cuts its duration itself
        return video.first + stream.frames / video.fps
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))  # Matroska
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None


def _video_track(container: InputContainer) -> VideoStream:
    cover = av.stream.Disposition.attached_pic
    tracks = [s for s in container.streams.video if not s.disposition & cover]
    if not tracks:
        raise Unreadable("it has no video track", "Read it as audio, or use another file.")
    track = tracks[0]
    if track.codec_context is None:
        raise Unreadable("FFmpeg has no decoder for its video track")
    _check_size(track.codec_context.width, track.codec_context.height)
    return track


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_VIDEO_SIDE:
        raise Unreadable(
            f"its frames are {width} x {height} pixels, more than {MAX_VIDEO_SIDE} on a side",
            "Scale it down first.",
        )


def _first_frame(container: InputContainer, stream: VideoStream) -> Any:
    for packet in container.demux(stream):
        with contextlib.suppress(av.FFmpegError):
            for frame in packet.decode():
                return frame
    raise Unreadable("no frame of its video track can be decoded; the file is damaged")


def _last_time(container: InputContainer, stream: VideoStream, fps: float) -> float:
    """End of the last frame on the track's clock, from packets near the end; none is decoded."""
    unit = float(stream.time_base or 0)
    for offset in (_near_end(container, stream), 0):  # what cannot seek is read through
        with contextlib.suppress(av.FFmpegError):
            container.seek(offset, stream=stream)
            ends = [_packet_end(packet, unit, 1 / fps) for packet in container.demux(stream)]
            if any(ends):
                return max(ends)
    return 0.0


def _near_end(container: InputContainer, stream: VideoStream) -> int:
    """A time stamp whose key frame is the last one, or shortly before the end."""
    if len(stream.index_entries) or container.duration is None:
        return 2**62
    begin = stream.start_time or 0  # without an index a seek may land between key frames
    seconds = container.duration / av.time_base - 5.0
    return begin + max(0, int(seconds / (stream.time_base or 1)))


def _packet_end(packet: av.Packet, unit: float, frame_seconds: float) -> float:
    start = packet.dts if packet.pts is None else packet.pts
    if start is None:
        return 0.0
    return start * unit + (packet.duration * unit if packet.duration else frame_seconds)
