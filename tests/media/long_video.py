"""Sixteen frames of a video of two hours against a clip of one minute: time and memory.

python -m tests.media.long_video [--minutes 120] [--short 1] [--frames 16]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from mmadapt.data.media import read_video
from mmadapt.data.media.reader import shared_reader
from tests.core.data.media.makers import as_frame, index_of, paint

FPS = 10
GOP = 250


@dataclass(frozen=True)
class Measured:
    """One file: its minutes and bytes, the median seconds of a read, the reader's peak memory."""

    minutes: float
    nbytes: int
    seconds: float
    peak: int


def write(path: Path, minutes: float) -> None:
    """Encodes small frames; each shows the number of its second (modulo 256) in bits."""
    pictures = [as_frame(paint(second), "yuv420p") for second in range(256)]
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "threads": "1"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = 32, 128, "yuv420p"
        stream.codec_context.gop_size = GOP
        for number in range(round(minutes * 60 * FPS)):
            frame = pictures[number // FPS % 256]
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def measure(path: Path, minutes: float, frames: int, repeats: int = 3) -> Measured:
    """Reads frames in a reader process of its own and checks that they are the right ones."""
    shared_reader().close()
    read_video(path, num_frames=1, end=1.0)  # starts the process and imports the decoder
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        clip = read_video(path, num_frames=frames)
        seconds.append(time.perf_counter() - began)
    expected = [int(t) % 256 for t in (np.arange(frames) + 0.5) * minutes * 60 / frames]
    if [index_of(frame) for frame in clip.frames] != expected:
        raise SystemExit(f"{path.name}: the frames are not those of the segments' centres")
    return Measured(minutes, path.stat().st_size, float(np.median(seconds)), peak_memory())


def peak_memory() -> int:
    """Bytes that the reader process held at most; Linux."""
    status = Path(f"/proc/{shared_reader().pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def compare(minutes: float, short: float, frames: int) -> tuple[Measured, Measured]:
    """Writes and measures the short file, then the long one."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for length in (short, minutes):
            path = Path(folder) / f"{length:g}.mp4"
            write(path, length)
            found.append(measure(path, length, frames))
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--short", type=float, default=1.0)
    parser.add_argument("--frames", type=int, default=16)
    options = parser.parse_args()
    short, long = compare(options.minutes, options.short, options.frames)
    print(f"| clip | file | {options.frames} frames | peak memory of the reader |")
    print("|---|---|---|---|")
    for each in (short, long):
        size, peak = each.nbytes / 2**20, each.peak / 2**20
        print(f"| {each.minutes:g} min | {size:.2f} MiB | {each.seconds:.3f} s | {peak:.0f} MiB |")
    times, memory = long.seconds / short.seconds, long.peak / short.peak
    print(f"| ratio | | {times:.2f} | {memory:.2f} |")


if __name__ == "__main__":
    main()
