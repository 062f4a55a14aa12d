"""Reads sound with PyAV (FFmpeg): m4a and the like, and a video's own sound."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from mmadapt.data.media.decode.container import open_container
from mmadapt.data.media.decode.errors import NO_SOUND_TRACK, Unreadable
from mmadapt.data.media.decode.waveform import Part, check_complete, check_length

PREROLL = 0.25
"""Seconds decoded before the start: lossy codecs need earlier packets for the first samples."""


def read(path: str, part: Part) -> tuple[int, np.ndarray]:
    """Reads a part of a file's first sound track.

    Args:
        path: Absolute path.
        part: Which part.

    Returns:
        The track's sampling rate in Hz, and the waveform (channels or 1, n) float32.

    Raises:
        Unreadable: no recording, no sound track, too long, damaged or cut short.
    """
    with open_container(path, "audio") as container:
        if not container.streams.audio:
            raise Unreadable(NO_SOUND_TRACK, "Leave it out, or use another file.")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise Unreadable("FFmpeg has no decoder for its sound track")
        rate = stream.codec_context.sample_rate
        if not rate:
            raise Unreadable("its sound track has no sampling rate; the file is damaged")
        announced = _announced(container, stream)
        if announced is not None:
            check_length(part.seconds(announced), 0)
        waveform = _collect(container, stream, rate, part)
        if announced is not None:
            check_complete(part.seconds(announced), waveform.shape[1] / rate, part.start)
        return rate, waveform


def _announced(container: InputContainer, stream: AudioStream) -> float | None:
    """Seconds of the track by its header; None where only the longest track's are known."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if len(container.streams) == 1 and container.duration is not None:
        return container.duration / av.time_base - (stream.start_time or 0) * float(
            stream.time_base or 0
        )
    return None


def _collect(container: InputContainer, stream: AudioStream, rate: int, part: Part) -> np.ndarray:
    """Decoded blocks, cut to the part by their time stamps."""
    first = round(part.start * rate)
    last = None if part.end is None else round(part.end * rate)
    blocks, values = [], 0
    for position, block in _blocks(container, stream, rate, part.start):
        if last is not None and position >= last:
            break
        stop = None if last is None else last - position
        block = part.mix(block[:, max(0, first - position) : stop])
        blocks.append(block)
        values += block.size
        check_length(values / len(block) / rate, values)
    return np.concatenate(blocks, axis=1) if blocks else np.empty((1, 0), np.float32)


def _blocks(
    container: InputContainer, stream: AudioStream, rate: int, start: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks (channels, n) float32, each with the index of its first sample in the track."""
    position: int | None = 0
    origin = 0.0
    if start > PREROLL:
        origin = _seek(container, stream, start - PREROLL)
        position = None
    to_float = av.AudioResampler(format="fltp")
    for frame in container.decode(stream):
        if position is None:  # later blocks follow on: stamps of lossy codecs jitter
            position = round(((frame.time or 0.0) - origin) * rate)
        for plain in to_float.resample(frame):
            block = plain.to_ndarray()
            yield position, block
            position += block.shape[1]


def _seek(container: InputContainer, stream: AudioStream, time: float) -> float:
    """Goes to seconds after the first sample; returns that sample's own time stamp."""
    first = next(container.decode(stream), None)
    origin = 0.0 if first is None or first.time is None else float(first.time)
    container.seek(int((time + origin) / (stream.time_base or 1)), stream=stream)
    return origin
