"""Reads sound with soundfile (libsndfile): wav, flac, ogg, mp3, aiff and others."""

from __future__ import annotations

import numpy as np
import soundfile

from mmadapt.data.media.decode.errors import Unreadable
from mmadapt.data.media.decode.waveform import Part, check_complete, check_length

BLOCK = 2**20


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


def _read(file: soundfile.SoundFile, part: Part) -> np.ndarray:
    rate = file.samplerate
    seconds = part.seconds(file.frames / rate)
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
