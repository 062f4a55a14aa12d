"""Damaged media through our readers: every file ends in media or in a reason, none in a hang.

    python -m tests.media.damage [--count 1000] [--seed 0]

Real files of 15 formats are written by PIL, PyAV and soundfile, and damaged in five ways. Each is
then read as what its name says, within the readers' own time limit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from mmadapt.data.media import read_audio, read_image, read_video
from mmadapt.data.media.reader import shared_reader
from mmadapt.errors import MediaError
from tests.core.data.media.makers import tone, write_video
from tests.core.data.media.test_audio import write_m4a

LIMIT = 20.0  # seconds for one decoder of one file
IMAGES = ("png", "jpg", "gif", "webp", "tiff")
VIDEOS = {
    "mp4": {"codec": "libx264"},
    "webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
    "mkv": {"codec": "libx264", "gop": 5},
    "avi": {"codec": "mpeg4"},
    "gif": {"codec": "gif"},
}
SOUNDS = ("wav", "flac", "mp3", "ogg", "m4a")
WAYS = ("truncated", "bits flipped", "wrong extension", "zero bytes", "random bytes")


@dataclass(frozen=True)
class Case:
    """A damaged file: of which kind and format it was, and what was done to it."""

    path: Path
    kind: str
    format: str
    way: str


@dataclass(frozen=True)
class Outcome:
    """What became of a read: `ok`, `refused`, `hang` (ended at the limit) or `crash`."""

    case: Case
    result: str
    reason: str
    seconds: float


def originals(folder: Path, rng: np.random.Generator) -> list[tuple[str, str, Path]]:
    """Writes one real file of every format; returns kind, format and path of each."""
    pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    found = []
    for suffix in IMAGES:
        path = folder / f"image.{suffix}"
        Image.fromarray(np.kron(pixels[::8, ::8], np.ones((8, 8, 1), np.uint8))).save(path)
        found.append(("image", suffix, path))
    for suffix, options in VIDEOS.items():
        path = folder / f"video.{suffix}"
        write_video(path, count=24, **options)  # type: ignore[arg-type]
        found.append(("video", suffix, path))
    for suffix in SOUNDS:
        path, sound = folder / f"audio.{suffix}", tone(2.0, 22050)
        if suffix == "m4a":
            write_m4a(path, sound, 22050)
        else:
            soundfile.write(path, sound, 22050)
        found.append(("audio", suffix, path))
    return found


def damaged(data: bytes, way: str, rng: np.random.Generator) -> bytes:
    """The bytes of a file after one kind of damage; `wrong extension` leaves them as they are."""
    array = np.frombuffer(data, np.uint8).copy()
    if way == "truncated":
        return data[: int(rng.integers(1, len(data)))]
    if way == "bits flipped":
        places = rng.integers(0, len(data), int(rng.integers(1, 40)))
        np.bitwise_xor.at(array, places, (1 << rng.integers(0, 8, len(places))).astype(np.uint8))
    if way == "zero bytes":
        start = int(rng.integers(0, len(data)))
        array[start : start + int(rng.integers(1, len(data)))] = 0
    if way == "random bytes":
        start = int(rng.integers(0, len(data))) if rng.random() < 0.5 else 0
        stop = start + int(rng.integers(1, len(data)))
        array[start:stop] = rng.integers(0, 256, len(array[start:stop]), dtype=np.uint8)
    return array.tobytes()


def cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Writes `count` damaged files, formats and ways in turn; a function of the seed."""
    rng = np.random.default_rng(seed)
    files = originals(folder, rng)
    for number in range(count):
        kind, suffix, original = files[number % len(files)]
        way = WAYS[number // len(files) % len(WAYS)]
        named = suffix
        if way == "wrong extension":
            named = str(rng.choice([other for _, other, _ in files if other != suffix]))
        path = folder / f"{number:05d}.{named}"
        path.write_bytes(damaged(original.read_bytes(), way, rng))
        yield Case(path, kind, suffix, way)


READERS: dict[str, Callable[[Path], object]] = {
    "image": lambda path: read_image(path, timeout=LIMIT),
    "video": lambda path: read_video(path, num_frames=4, timeout=LIMIT),
    "audio": lambda path: read_audio(path, sampling_rate=16000, timeout=LIMIT),
}


def read(case: Case) -> Outcome:
    """Reads a file as the kind that its original was."""
    began, pid = time.monotonic(), shared_reader().pid
    result, reason = "ok", ""
    try:
        READERS[case.kind](case.path)
    except MediaError as error:
        result, reason = "refused", error.reason
    seconds = time.monotonic() - began
    if "the time limit" in reason:
        result = "hang"
    elif "the decoder crashed" in reason or pid not in (None, shared_reader().pid):
        result = "crash"
    return Outcome(case, result, reason, seconds)


def run(count: int, seed: int) -> list[Outcome]:
    """Damages and reads `count` files."""
    with tempfile.TemporaryDirectory() as folder:
        return [read(case) for case in cases(Path(folder), count, seed)]


def table(outcomes: list[Outcome]) -> str:
    """What became of the files, by format and by damage, as Markdown."""
    lines = ["| original | files | read | refused | hangs | crashes | longest read |"]
    lines += ["|---|---|---|---|---|---|---|"]
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(f"{outcome.case.kind}: {outcome.case.format}", []).append(outcome)
    for way in WAYS:
        groups[way] = [outcome for outcome in outcomes if outcome.case.way == way]
    groups["all"] = outcomes
    for name, group in groups.items():
        results = Counter(outcome.result for outcome in group)
        slowest = max((outcome.seconds for outcome in group), default=0.0)
        counts = [len(group), *(results[key] for key in ("ok", "refused", "hang", "crash"))]
        lines.append(f"| {name} | {' | '.join(map(str, counts))} | {slowest:.2f} s |")
    return "\n".join(lines)


def unexplained(outcomes: list[Outcome]) -> list[Outcome]:
    """Files that were neither read nor refused with a reason."""
    return [o for o in outcomes if o.result != "ok" and (o.result != "refused" or not o.reason)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    outcomes = run(options.count, options.seed)
    print(table(outcomes))
    for outcome in unexplained(outcomes):
        print(f"{outcome.result}: {outcome.case}: {outcome.reason}")
    reasons = Counter(o.reason.split(" (")[0][:70] for o in outcomes if o.result == "refused")
    print("\nmost frequent reasons:")
    for reason, number in reasons.most_common(12):
        print(f"  {number:4d}  {reason}")


if __name__ == "__main__":
    main()
