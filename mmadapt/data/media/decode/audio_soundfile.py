"""Reads sound with soundfile (libsndfile): wav, flac, ogg, mp3, aiff and others."""

from __future__ import annotations

import re

import numpy as np
import soundfile

from mmadapt.data.media.decode.errors import CutShort, Unreadable
from mmadapt.data.media.decode.waveform import Part, check_complete, check_length

BLOCK = 2**20
_CUT = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED = 2**31 - 2**16
"""Sizes from here on are what programs write that could not know the size."""


def read(path: str, part: Part) -> tuple[int, np.ndarray]:
    """Reads a part of a sound file.

    Args:
        path: Absolute path.
        part: Which part.

    Returns:
        The file's sampling rate in Hz, and the waveform (channels or 1, n) float32.

    Raises:
        Unreadable: not a sound file of libsndfile's, too long, damaged or cut short.
    """
    try:
        with soundfile.SoundFile(path) as file:
            return file.samplerate, _read(file, part)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw
        reason = getattr(error, "error_string", str(error)).removeprefix("Error : ")
        raise Unreadable(f"soundfile: {reason}") from None


def _check_size(file: soundfile.SoundFile, part: Part) -> None:
    """Refuses a WAV or AIFF file that is shorter than its header says.

    Every decoder would read what is left of it without a word.
    """
    sizes = _CUT.search(file.extra_info)
    if sizes is None or int(sizes[1]) >= _STREAMED:
        return
    actual = file.frames / file.samplerate
    announced = actual * int(sizes[1]) / max(1, int(sizes[2]))
    try:
        check_complete(part.seconds(announced), part.seconds(actual), part.start)
    except Unreadable as error:
        raise CutShort(error.reason, error.advice) from None


def _read(file: soundfile.SoundFile, part: Part) -> np.ndarray:
    rate = file.samplerate
    seconds = part.seconds(file.frames / rate)
    _check_size(file, part)
    count, channels = round(seconds * rate), 1 if part.mono else file.channels
    check_length(seconds, count * channels)
    waveform = np.empty((channels, count), np.float32)
    if not count:
        return waveform
    file.seek(round(part.start * rate))
    done = 0
    while done < count:
        block = file.read(min(BLOCK, count - done), dtype="float32", always_2d=True)
        if not len(block):
            break
        waveform[:, done : done + len(block)] = part.mix(block.T)
        done += len(block)
    check_complete(count / rate, done / rate, part.start)
    return waveform[:, :done]
