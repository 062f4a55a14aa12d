"""Faults of processes, numbers and memory."""

from __future__ import annotations

import json
import os
import re
import signal
import time

from tests.reliability import parts
from tests.reliability.bench import (
    EXACT,
    Bench,
    Outcome,
    checkpointed,
    last,
    running,
    shown,
    workers_of,
)

WORKERS = {"dataloader_num_workers": 2}


def killed_worker(bench: Bench) -> Outcome:
    """A loader worker is killed with SIGKILL, as the system does that runs out of memory."""
    path, folder = bench.recipe("worker", train=WORKERS), bench.place / "worker"
    process = running(path, folder)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    code, told = parts.ended(process)
    return bench.resumed(path, folder, code, told, "a loader worker")


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


def out_of_memory(bench: Bench) -> Outcome:
    """The process may take no more than a little memory beyond what it starts with (RLIMIT_AS)."""
    path, folder = (
        bench.recipe("memory", fusion={"use": f"{parts.HERE}:Hungry"}),
        bench.place / "memory",
    )
    process = parts.start(parts.command(path, folder), env={"MMADAPT_TEST_LIMIT": "1"})
    code, told = parts.ended(process)
    ok = code == 2 and "memory of this machine does not suffice for step 3" in told
    named = re.search(r"media of the samples s\d+, s\d+, s\d+, s\d+: lower", told) is not None
    return Outcome(code, last(told), "the run stands at its last checkpoint", ok and named)


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
