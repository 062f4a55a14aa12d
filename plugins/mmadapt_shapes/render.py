"""Write one clip, picture or sound as a real file, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from mmadapt_shapes.scenes import image_scene, video_scene
from mmadapt_shapes.tones import SAMPLE_RATE, waveform
from mmadapt_shapes.world import Combination, Medium

FRAME_RATE = 8
"""Frames per second of a clip: with eight frames it lasts one second."""

SUFFIXES: dict[Medium, str] = {"video": ".mp4", "image": ".png", "audio": ".wav"}


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` only when the block succeeds.

    Two processes may write the same file at once and a killed one leaves no half file: the name
    appears by one atomic rename.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        Path(name).chmod(0o644)  # mkstemp makes it private; a shared cache must stay readable
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_mp4(path: Path, frames: NDArray[np.uint8]) -> None:
    """Encode frames as H.264 in yuv420p; the bytes depend on the frames and the codec alone."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "14", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_png(path: Path, frame: NDArray[np.uint8]) -> None:
    """Write one picture."""
    Image.fromarray(frame).save(path, format="PNG")


def write_wav(path: Path, wave: NDArray[np.floating]) -> None:
    """Write mono 16-bit samples at 16 kHz."""
    soundfile.write(path, wave, SAMPLE_RATE, subtype="PCM_16", format="WAV")


def _video(path: Path, combination: Combination, rng: np.random.Generator) -> None:
    write_mp4(path, video_scene(rng, combination).frames(rng))


def _image(path: Path, combination: Combination, rng: np.random.Generator) -> None:
    write_png(path, image_scene(rng, combination).frames(rng)[0])


def _audio(path: Path, combination: Combination, rng: np.random.Generator) -> None:
    write_wav(path, waveform(rng, combination))


_RENDERERS: dict[Medium, Callable[[Path, Combination, np.random.Generator], None]] = {
    "video": _video,
    "image": _image,
    "audio": _audio,
}


def render(medium: Medium, combination: Combination, seed: list[int], path: Path) -> None:
    """Render one file.

    Args:
        medium: ``"video"``, ``"image"`` or ``"audio"``.
        combination: What it shows.
        seed: Decides place, size, speed and background (any number of integers).
        path: Where the finished file appears, atomically.
    """
    rng = np.random.default_rng(seed)
    with whole_file(path) as temporary:
        _RENDERERS[medium](temporary, combination, rng)
