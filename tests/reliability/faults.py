"""Every fault injected for real, what the user sees of it, and that nothing was lost.

    python tests/reliability/faults.py --output docs/reliability/faults.md [NAME ...]

Each fault befalls a run of its own in a process of its own; afterwards its cause is mended, the run
is continued with `--resume`, and its adapter compared bit by bit with that of a run that nothing
befell. Mounting a small disk needs root; without it those rows say so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests import world
from tests.reliability import parts

KEYS = {"max_steps": 24, "save_steps": 4, "logging_steps": 1, "use_cpu": True}
WORKERS = {"dataloader_num_workers": 2}
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


def checkpointed(folder: Path) -> bool:
    """Whether a first checkpoint is complete."""
    return any(folder.glob("checkpoint-*/manifest.json"))


def running(path: Path, folder: Path, **options: object) -> subprocess.Popen[str]:
    """A run that has written a checkpoint."""
    process = parts.start(parts.command(path, folder), **options)
    parts.wait_for(lambda: checkpointed(folder) or process.poll() is not None)
    return process


@contextmanager
def small_disk(place: Path, size: str = "8m") -> Iterator[Path]:
    """A file system of its own, mounted in memory."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def disk_full(bench: Bench) -> Outcome:
    """The disk fills up while the run goes on; later it is freed."""
    path = bench.recipe("disk")
    with small_disk(bench.place / "disk") as disk:
        folder, filler = disk / "run", disk / "filler"
        process = running(path, folder)
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        code, told = parts.ended(process)
        filler.unlink()
        return bench.resumed(path, folder, code, told, "No space left on device")


def vanishing_run_folder(bench: Bench) -> Outcome:
    """The run folder is gone during training, as a network disk may be, and comes back later."""
    path, folder = bench.recipe("folder"), bench.place / "folder"
    process = running(path, folder)
    folder.rename(bench.place / "away")
    code, told = parts.ended(process)
    shutil.rmtree(folder, ignore_errors=True)
    (bench.place / "away").rename(folder)
    return bench.resumed(path, folder, code, told, "No such file or directory")


def file_size_limit(bench: Bench) -> Outcome:
    """A quota: no file may grow beyond some bytes (RLIMIT_FSIZE)."""
    path, folder = bench.recipe("quota"), bench.place / "quota"
    limit = (6000, 6000)
    process = parts.start(
        parts.command(path, folder),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    code, told = parts.ended(process)
    return bench.resumed(
        path, folder, code, told, "cannot be written: the disk is full, or a quota"
    )


def killed_worker(bench: Bench) -> Outcome:
    """A loader worker is killed with SIGKILL, as the system does that runs out of memory."""
    path, folder = bench.recipe("worker", train=WORKERS), bench.place / "worker"
    process = running(path, folder)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    code, told = parts.ended(process)
    return bench.resumed(path, folder, code, told, "a loader worker")


def workers_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True)
    return [int(line) for line in listed.stdout.split()]


def killed_run(bench: Bench) -> Outcome:
    """The run itself is killed with SIGKILL; its lock must not keep the next one out."""
    path, folder = bench.recipe("killed", train=WORKERS), bench.place / "killed"
    process = running(path, folder)
    process.kill()
    process.wait()
    assert (folder / ".lock").exists()
    outcome = bench.resumed(path, folder, process.returncode, "", "")
    return Outcome(outcome.code, "(killed)", outcome.kept, outcome.ok)


def two_runs(bench: Bench) -> Outcome:
    """A second run is started in the folder of one that is under way."""
    hang = bench.place / "hang"
    path, folder = bench.recipe("twice", source={"hangs_after": str(hang)}), bench.place / "twice"
    first = running(path, folder)
    hang.touch()
    code, told = parts.ended(parts.start(parts.command(path, folder, "--resume")))
    hang.unlink()
    done, _ = parts.ended(first)
    same = done == 0 and parts.same_adapter(folder, bench.straight(path))
    kept = "the first run ends with the same bits as undisturbed" if same else "LOST"
    return Outcome(code, last(told), kept, same and "is being trained there by process" in told)


def no_number(bench: Bench) -> Outcome:
    """One sample's media give NaN; by default the first such loss ends the run."""
    encoders = {"image": {"use": f"{parts.HERE}:PoisonedEncoder"}}
    path, folder = bench.recipe("nan", encoders=encoders), bench.place / "nan"
    code, told = parts.ended(parts.start(parts.command(path, folder)))
    whole = not (folder / "adapter").exists()
    kept = "no weight was changed by it; no adapter is written"
    named = re.search(r"for the samples [s\d, ]*\bs5\b", told) is not None
    return Outcome(code, last(told), kept, code == 2 and whole and named)


def no_number_skipped(bench: Bench) -> Outcome:
    """The same with `train.max_skipped_steps: 9`."""
    encoders = {"image": {"use": f"{parts.HERE}:PoisonedEncoder"}}
    train = {"max_skipped_steps": 9}
    path = bench.recipe("skip", encoders=encoders, train=train)
    folder = bench.place / "skip"
    code, told = parts.ended(parts.start(parts.command(path, folder)))
    log = [json.loads(line) for line in (folder / "log.jsonl").open()]
    skipped = [record for record in log if "skipped_samples" in record]
    right = len(skipped) == 4 and all("s5" in record["skipped_samples"] for record in skipped)
    kept = f"{len(skipped)} of 24 steps left out, their samples in log.jsonl and on stderr"
    return Outcome(code, shown(told, "left out"), kept, code == 0 and right and "left out" in told)


def shown(told: str, word: str) -> str:
    """The first line with a word."""
    return next((line.strip() for line in told.splitlines() if word in line), "")


def out_of_memory(bench: Bench) -> Outcome:
    """The process may take no more than a little memory beyond what it starts with (RLIMIT_AS)."""
    path, folder = bench.recipe("memory", fusion=HUNGRY), bench.place / "memory"
    process = parts.start(parts.command(path, folder), env={"MMADAPT_TEST_LIMIT": "1"})
    code, told = parts.ended(process)
    ok = code == 2 and "memory of this machine does not suffice for step 3" in told
    named = re.search(r"media of the samples s\d+, s\d+, s\d+, s\d+: lower", told) is not None
    return Outcome(code, last(told), "the run stands at its last checkpoint", ok and named)


HUNGRY = {"use": f"{parts.HERE}:Hungry"}


def vanishing_data(bench: Bench) -> Outcome:
    """The folder of the pictures is moved away during training and comes back later."""
    pictures = bench.place / "pictures"
    records = write_pictures(pictures)
    path = bench.place / "vanish.yaml"
    path.write_text(PICTURE_RECIPE.format(path=records))
    folder = bench.place / "vanish"
    process = running(path, folder)
    pictures.rename(bench.place / "gone")
    code, told = parts.ended(process)
    (bench.place / "gone").rename(pictures)
    return bench.resumed(path, folder, code, told, "samples cannot be read, more than")


PICTURE_RECIPE = """
name: vanish
lm: {{model: "embedded:lm"}}
encoders: {{image: {{use: vit, model: "embedded:vit"}}}}
fusion: {{use: adem, scales: [[4, 4]], bottleneck: null}}
head: {{use: caption, prompt: a picture of}}
data: {{train: {{use: jsonl, path: {path}}}}}
train: {{max_steps: 24, save_steps: 4, logging_steps: 1, per_device_train_batch_size: 8,
  use_cpu: true, dataloader_num_workers: 0}}
"""


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


def read_only_data(bench: Bench) -> Outcome:
    """The data lie on a file system that cannot be written to, which is no fault."""
    with small_disk(bench.place / "rodata", "64m") as disk:
        records = write_pictures(disk / "pictures")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        path = bench.place / "rodata.yaml"
        path.write_text(PICTURE_RECIPE.format(path=records))
        process = parts.start(parts.command(path, bench.place / "ro-run"))
        code, told = parts.ended(process)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=False)
    return Outcome(code, last(told), "trains as usual", code == 0)


def killed_rank(bench: Bench) -> Outcome:
    """One of two processes (gloo) is killed with SIGKILL."""
    train = {"ddp_backend": "gloo"}
    path, folder = bench.recipe("rank", train=train), bench.place / "rank"
    process = parts.start(parts.command(path, folder, processes=2))
    parts.wait_for(lambda: checkpointed(folder) or process.poll() is not None)
    os.kill(workers_of(process.pid)[1], signal.SIGKILL)
    began = time.monotonic()
    code, told = parts.ended(process)
    took = time.monotonic() - began
    again = parts.start(parts.command(path, folder, "--resume", processes=2))
    back, said = parts.ended(again)
    same = back == 0 and parts.same_adapter(folder, bench.straight(path, processes=2))
    kept = f"ended after {took:.0f} s; {EXACT}" if same else f"LOST: {last(said)}"
    seen = shown(told, "Signal 9") or shown(told, "exitcode")
    return Outcome(code, seen, kept, same and took < 60 and "-9" in told)


def wrong_sample_on_one_rank(bench: Bench) -> Outcome:
    """A sample is unusable in the second of two processes alone; the first must not wait."""
    source = {"wrong": 9, "wrong_rank": 1}
    train = {"ddp_backend": "gloo"}
    path = bench.recipe("wrong", source=source, train=train)
    folder = bench.place / "wrong"
    code, told = parts.ended(parts.start(parts.command(path, folder, processes=2)))
    own = re.search(r"error: sample:s9: has no target", told) is not None
    other = re.search(r"error: process 1 of 2: .*s9.*has no target", told) is not None
    seen = shown(told, "process 1 of 2")
    return Outcome(code, seen, "both processes end with the sample's name", own and other)


FAULTS: dict[str, Callable[[Bench], Outcome]] = {
    function.__name__: function
    for function in (
        disk_full,
        vanishing_run_folder,
        file_size_limit,
        read_only_data,
        vanishing_data,
        killed_worker,
        killed_run,
        two_runs,
        no_number,
        no_number_skipped,
        out_of_memory,
        killed_rank,
        wrong_sample_on_one_rank,
    )
}
MOUNTING = {"disk_full", "read_only_data"}


def main() -> int:
    """Injects the faults that are named, or all, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*FAULTS, []])
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    lines = ["| fault | exit | what the user sees | what was kept | |", "|---|---|---|---|---|"]
    bad = 0
    print(*lines, sep="\n", flush=True)
    for name in chosen.names or FAULTS:
        place = Path(tempfile.mkdtemp(prefix="faults-"))
        about = (FAULTS[name].__doc__ or "").strip()
        if name in MOUNTING and os.geteuid() != 0:
            outcome = Outcome(0, "not tried: mounting needs root", "", True)
        else:
            outcome = FAULTS[name](Bench(place))
        bad += not outcome.ok
        seen = outcome.seen.replace(str(place), "DIR").replace("|", "/")
        mark = "ok" if outcome.ok else "BAD"
        lines.append(f"| {about} | {outcome.code} | `{seen}` | {outcome.kept} | {mark} |")
        print(lines[-1], flush=True)
        shutil.rmtree(place, ignore_errors=True)
    if chosen.output is not None:
        chosen.output.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    return bad


HEAD = """# Faults

Written by `python tests/reliability/faults.py --output docs/reliability/faults.md`: each fault
befalls a run of its own, its cause is mended, the run is continued with `--resume`, and its adapter
compared bit by bit with that of a run that nothing befell. A negative exit code is the signal that
ended the process; `torchrun` itself exits with 1 whatever its processes did.

"""


if __name__ == "__main__":
    sys.exit(main())
