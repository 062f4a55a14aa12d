"""What every fault needs: a run of its own, its outcome, small disks, and pictures on disk."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests import world
from tests.reliability import parts

KEYS = {"max_steps": 24, "save_steps": 4, "logging_steps": 1, "use_cpu": True}
SLOW = {"pause": 0.05}
PICTURES = 240
EXACT = "resumed: the same bits as undisturbed"


@dataclass(frozen=True)
class Outcome:
    """What a fault did: the exit code, the last line on stderr, and what was kept."""

    code: int
    seen: str
    kept: str
    ok: bool


class Bench:
    """A folder with an LM, a recipe, and the run that nothing befell.

    Args:
        place: the folder.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.lm = world.save_lm(place / "lm")
        self.made: dict[str, Path] = {}

    def recipe(self, name: str, **blocks: object) -> Path:
        """A recipe of 24 steps that reads slowly."""
        train = {**KEYS, **blocks.pop("train", {})}  # type: ignore[dict-item]
        source = {**SLOW, **blocks.pop("source", {})}  # type: ignore[dict-item]
        path = self.place / f"{name}.yaml"
        return parts.write(path, self.lm, source=source, train=train, **blocks)

    def straight(self, path: Path, processes: int = 1) -> Path:
        """The run of a recipe that nothing befell."""
        if path.name not in self.made:
            folder = self.place / f"straight-{path.stem}"
            process = parts.start(parts.command(path, folder, processes=processes))
            code, told = parts.ended(process)
            assert code == 0, told
            self.made[path.name] = folder
        return self.made[path.name]

    def resumed(self, path: Path, folder: Path, code: int, told: str, expect: str) -> Outcome:
        """Continues a run, and compares what became of it."""
        again = parts.start(parts.command(path, folder, "--resume"))
        back, said = parts.ended(again)
        same = back == 0 and parts.same_adapter(folder, self.straight(path))
        kept = EXACT if same else f"LOST: {last(said)}"
        return Outcome(code, last(told), kept, same and expect in told and "Traceback" not in told)


def last(told: str) -> str:
    """The last line that is not a resuming command."""
    lines = [line for line in told.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def shown(told: str, word: str) -> str:
    """The first line with a word."""
    return next((line.strip() for line in told.splitlines() if word in line), "")


def checkpointed(folder: Path) -> bool:
    """Whether a first checkpoint is complete."""
    return any(folder.glob("checkpoint-*/manifest.json"))


def running(path: Path, folder: Path, **options: object) -> subprocess.Popen[str]:
    """A run that has written a checkpoint."""
    process = parts.start(parts.command(path, folder), **options)
    parts.wait_for(lambda: checkpointed(folder) or process.poll() is not None)
    return process


def workers_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True)
    return [int(line) for line in listed.stdout.split()]


@contextmanager
def small_disk(place: Path, options: str = "size=8m") -> Iterator[Path]:
    """A file system of its own, mounted in memory."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


PICTURE_RECIPE = """
name: pictures
lm: {{model: "embedded:lm"}}
encoders: {{image: {{use: vit, model: "embedded:vit"}}}}
fusion: {{use: adem, scales: [[4, 4]], bottleneck: null}}
head: {{use: caption, prompt: a picture of}}
data: {{train: {{use: jsonl, path: {records}}}, cache: {cache}}}
train: {{max_steps: 24, save_steps: 4, logging_steps: 1, per_device_train_batch_size: 8,
  use_cpu: true, dataloader_num_workers: 0}}
"""


def write_recipe(path: Path, records: Path, *, cache: bool = False) -> Path:
    """A recipe that reads the pictures of a jsonl file."""
    path.write_text(PICTURE_RECIPE.format(records=records, cache=str(cache).lower()))
    return path


def write_pictures(folder: Path) -> Path:
    """Pictures of noise with captions, and the jsonl file beside their folder."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number in range(PICTURES):
        pixels = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        record = {"image": f"{folder.name}/{number}.png", "caption": "a red ball"}
        lines.append(json.dumps(record))
    file = folder.with_suffix(".jsonl")
    file.write_text("\n".join(lines) + "\n")
    return file
