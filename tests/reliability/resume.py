"""Kills runs with SIGKILL at seeded random moments and compares what they end in, to the bit.

    python -m tests.reliability.resume --runs 100 --output docs/reliability/resume.md

A run is a real process (forked from one that has imported torch already, which costs most), killed
once to three times, at a random moment of its life or while it writes a checkpoint, and resumed as
often. In the end its adapter, the whole state of its last checkpoint, its log and its scores must
be those of the run that nobody killed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mmadapt.train import train
from mmadapt.train.checkpoints import MANIFEST, all_checkpoints, read_manifest
from tests.reliability import resume_parts

LIMIT = 300.0  # seconds after which a run counts as hanging
FORMS = {"by number": False, "streamed": True}


@dataclass
class Trial:
    """One run and the moments at which it was killed."""

    number: int
    form: str
    moments: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def spawn(recipe: dict[str, Any], folder: Path, told: Path) -> int:
    """Trains, or goes on training, in a process of its own."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        with told.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            train(recipe, folder, resume=folder.exists(), allow_code=True, quiet=False)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(process: int) -> int | None:
    """The exit code of a process, negative for a signal; None while it runs."""
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def finish(process: int) -> int:
    """Waits for the end of a process."""
    until = time.monotonic() + LIMIT
    while (code := ended(process)) is None:
        if time.monotonic() > until:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.005)
    return code


def kill(process: int, folder: Path, rng: random.Random, seconds: float) -> str | None:
    """Kills a run at a random moment; says which, or None where it had ended before.

    That is some time after it has begun (one in eight), after it has begun to write a checkpoint
    (every second one), or after it has completed one.
    """
    began = time.monotonic()
    before = {path.name for path in checkpoints(folder) if read_manifest(path)}
    kind, count = rng.randrange(8), rng.randint(1, 5)
    late = rng.random() * (seconds if kind == 0 else 0.06 if kind < 5 else seconds / 10)
    due = began + late if kind == 0 else None
    seen: set[str] = set()
    while ended(process) is None:
        if due is None:
            names = {path.name for path in checkpoints(folder) if is_new(path, kind, before)}
            seen |= names
            due = time.monotonic() + late if len(seen) >= count else None
        elif time.monotonic() > due:
            break
        time.sleep(0.0005)
    else:
        return None
    os.kill(process, signal.SIGKILL)
    if finish(process) != -signal.SIGKILL:
        return None
    return f"{time.monotonic() - began:.2f} s, {moment(folder)}"


def is_new(checkpoint: Path, kind: int, before: set[str]) -> bool:
    """Whether a checkpoint has been begun, or completed, since a run was started."""
    return checkpoint.name not in before and (kind < 5 or (checkpoint / MANIFEST).exists())


def checkpoints(folder: Path) -> list[Path]:
    """Those of a run, the newest first."""
    return all_checkpoints(folder) if folder.is_dir() else []


def moment(folder: Path) -> str:
    """What a killed run left behind."""
    if (folder / "adapter").is_dir():
        return "scoring"
    found = checkpoints(folder)
    torn = [path for path in found if read_manifest(path) is None]
    complete = [path.name.partition("-")[2] for path in found if path not in torn]
    after = f"after step {complete[0]}" if complete else "before any checkpoint"
    if not torn:
        return after
    files = sum(path.is_file() for path in torn[0].rglob("*"))
    return f"{after}, saving step {torn[0].name.partition('-')[2]} ({files} files there)"


def outcome(folder: Path) -> dict[str, Any]:
    """All that must be equal: checksums, scores, losses."""
    last = checkpoints(folder)[0]
    manifest: Any = read_manifest(last)
    result = json.loads((folder / "metrics.json").read_text())
    log = [json.loads(line) for line in (folder / "log.jsonl").open()]
    keys = ("step", "epoch", "loss", "grad_norm", "learning_rate", "eval_Exact")
    state = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "progress.json")
    return {
        "adapter": bits(folder / "adapter" / "adapter.safetensors"),
        "last weights": bits(last / "adapter.safetensors"),
        "last step": manifest["step"],
        **{name: manifest["files"][name]["sha256"] for name in state},
        "checkpoints": sorted(path.name for path in checkpoints(folder)),
        "scores": (result["metrics"], result["best_step"], result["train_loss"]),
        "log": [{key: line[key] for key in keys if key in line} for line in log],
    }


def bits(file: Path) -> tuple[Any, bytes]:
    """What a safetensors file holds; the order of its metadata is left to chance."""
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What is not the same."""
    return [name for name in one if one[name] != other[name]]


def trial(number: int, base: Path, expected: dict[str, Any], seconds: float, form: str) -> Trial:
    """Kills one run once to three times, resumes it, and compares what it ends in."""
    rng, made = random.Random(number), Trial(number, form)
    recipe = resume_parts.recipe(base, FORMS[form])
    folder, told = base / f"run-{number}", base / f"run-{number}.log"
    for _ in range(rng.choice([1, 1, 2, 3])):
        said = kill(spawn(recipe, folder, told), folder, rng, seconds)
        for _ in range(9):
            if said is not None or made.moments:
                break
            shutil.rmtree(folder)  # it was over before its moment came
            said = kill(spawn(recipe, folder, told), folder, rng, seconds)
        if said is None:
            break
        made.moments.append(said)
    code = 0 if (folder / "metrics.json").exists() else finish(spawn(recipe, folder, told))
    if code != 0:
        made.wrong = [f"ended with {code}: {told.read_text().strip().splitlines()[-1:]}"]
    else:
        made.wrong = differences(expected, outcome(folder))
    if not made.wrong:
        shutil.rmtree(folder)
    return made


def numbered(number: int, base: Path, known: dict[str, Any]) -> Trial:
    """The trial of a number; every second one is streamed."""
    form = list(FORMS)[number % len(FORMS)]
    return trial(number, base, *known[form], form)


def reference(base: Path, form: str) -> tuple[dict[str, Any], float]:
    """What the run ends in that nobody kills, and how long it takes."""
    began = time.monotonic()
    folder, told = base / form.replace(" ", "-"), base / "reference.log"
    code = finish(spawn(resume_parts.recipe(base, FORMS[form]), folder, told))
    assert code == 0, told.read_text()
    return outcome(folder), time.monotonic() - began


def table(trials: list[Trial]) -> str:
    """The trials as a page."""
    kills = [moment for one in trials for moment in one.moments]
    kinds = Counter(
        "while a checkpoint was written"
        if "saving" in text
        else "while the test split was scored"
        if "scoring" in text
        else "before the first checkpoint"
        if "before any" in text
        else "in the middle of training"
        for text in kills
    )
    equal = sum(not one.wrong for one in trials)
    lines = [
        "# Killed and resumed",
        "",
        f"{len(trials)} runs, {len(kills)} kills with SIGKILL, {equal} of {len(trials)} bit-equal "
        "to the run that nobody killed: the adapter, the last checkpoint's weights, optimiser, "
        "schedule, chance and counts, the losses of the log and the scores.",
        "",
        *(f"- {count} kills {kind}" for kind, count in sorted(kinds.items())),
        f"- {sum(len(one.moments) > 1 for one in trials)} runs were killed more than once",
        "",
        "11 steps of 2 x 2 samples with dropout, random frames, two loader workers, AdamW, warm-up "
        "and cosine, a checkpoint and an evaluation every 2 steps, the last two checkpoints and "
        "the best one kept. Written by `python -m tests.reliability.resume --runs "
        f"{len(trials)}`.",
        "",
        "| run | samples | killed after | ends |",
        "|---|---|---|---|",
    ]
    for one in trials:
        end = "differs in " + ", ".join(one.wrong) if one.wrong else "bit-equal"
        lines.append(f"| {one.number} | {one.form} | {'; '.join(one.moments)} | {end} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Runs the trials and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number, and seed, of the first run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--keep", type=Path, help="folder to work in, which is kept")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        base = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        resume_parts.write_shards(base)
        resume_parts.save_lm(base)
        known = {form: reference(base, form) for form in FORMS}
        gc.collect()
        gc.freeze()  # collecting what all processes share would copy it for each
        numbers = range(options.first, options.first + options.runs)
        pool = stack.enter_context(ProcessPoolExecutor(options.jobs, get_context("fork")))
        trials = []
        for made in pool.map(partial(numbered, base=base, known=known), numbers):
            trials.append(made)
            print(made.number, made.form, made.moments, made.wrong or "bit-equal", flush=True)
            if options.output is not None:
                options.output.write_text(table(trials), encoding="utf-8")
    print(table(trials).splitlines()[2])
    return int(any(one.wrong for one in trials))


if __name__ == "__main__":
    sys.exit(main())
