"""Every fault injected for real, what the user sees of it, and that nothing was lost.

    python -m tests.reliability.faults --output docs/reliability/faults.md [NAME ...]

Each fault befalls a run of its own in a process of its own; afterwards its cause is mended, the run
is continued with `--resume`, and its adapter compared bit by bit with that of a run that nothing
befell. Mounting a small disk needs root; without it those rows say so. Where faults are named, the
other rows of the output stay as they are.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.reliability import faults_of_caches as caches
from tests.reliability import faults_of_disks as disks
from tests.reliability import faults_of_runs as runs
from tests.reliability import parts
from tests.reliability.bench import Bench, Outcome

FAULTS: dict[str, Callable[[Bench], Outcome]] = {
    function.__name__: function
    for function in (
        disks.disk_full,
        disks.vanishing_run_folder,
        disks.file_size_limit,
        disks.read_only_data,
        disks.vanishing_data,
        caches.disk_full_while_caching,
        caches.corrupted_cache_entry,
        runs.killed_worker,
        runs.killed_run,
        runs.two_runs,
        runs.no_number,
        runs.no_number_skipped,
        runs.out_of_memory,
        runs.killed_rank,
        runs.wrong_sample_on_one_rank,
    )
}
MOUNTING = {"disk_full", "read_only_data", "disk_full_while_caching"}


def main() -> int:
    """Injects the faults that are named, or all, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*FAULTS, []])
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    rows = written(chosen.output) if chosen.names else {}
    bad = 0
    print(TITLES, flush=True)
    for name in chosen.names or FAULTS:
        place = Path(tempfile.mkdtemp(prefix="faults-"))
        about = (FAULTS[name].__doc__ or "").strip()
        if name in MOUNTING and os.geteuid() != 0:
            outcome = Outcome(0, "not tried: mounting needs root", "", True)
        else:
            outcome = outcome_of(FAULTS[name], place)
        bad += not outcome.ok
        seen = outcome.seen.replace(str(place), "DIR").replace(str(parts.ROOT), "FOLDER")
        seen = seen.replace(socket.gethostname(), "HOST").replace("|", "/")
        mark = "ok" if outcome.ok else "BAD"
        rows[name] = f"| {about} | {outcome.code} | `{seen}` | {outcome.kept} | {mark} |"
        print(rows[name], flush=True)
        shutil.rmtree(place, ignore_errors=True)
        if chosen.output is not None:
            lines = [TITLES, *(rows[name] for name in FAULTS if name in rows), ""]
            chosen.output.write_text(HEAD + "\n".join(lines), encoding="utf-8")
    return bad


def written(file: Path | None) -> dict[str, str]:
    """The rows of a table that was written before, by fault."""
    if file is None or not file.exists():
        return {}
    lines = file.read_text(encoding="utf-8").splitlines()
    return {
        name: line
        for name, fault in FAULTS.items()
        for line in lines
        if line.startswith(f"| {fault.__doc__} | ")
    }


def outcome_of(fault: Callable[[Bench], Outcome], place: Path) -> Outcome:
    """What a fault does; one that hangs, or cannot be injected, does not keep the others back."""
    try:
        return fault(Bench(place))
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        return Outcome(1, f"{type(error).__name__}: {error}".splitlines()[0], "", False)


TITLES = "| fault | exit | what the user sees | what was kept | |\n|---|---|---|---|---|"
HEAD = """# Faults

Written by `python -m tests.reliability.faults --output docs/reliability/faults.md`: each fault
befalls a run of its own, its cause is mended, the run is continued with `--resume`, and its adapter
compared bit by bit with that of a run that nothing befell. A negative exit code is the signal that
ended the process; `torchrun` itself exits with 1 whatever its processes did. Given names of
faults, the script leaves the other rows as they are.

"""


if __name__ == "__main__":
    sys.exit(main())
