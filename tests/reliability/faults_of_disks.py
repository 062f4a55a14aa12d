"""Faults of disks: full, gone, not to be written to, damaged."""

from __future__ import annotations

import resource
import shutil
import subprocess

from tests.reliability import parts
from tests.reliability.bench import (
    Bench,
    Outcome,
    last,
    running,
    small_disk,
    write_pictures,
    write_recipe,
)


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
    return bench.resumed(path, folder, code, told, "the run folder is gone; bring it back")


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


def read_only_data(bench: Bench) -> Outcome:
    """The data lie on a file system that cannot be written to, which is no fault."""
    with small_disk(bench.place / "rodata", "size=64m") as disk:
        records = write_pictures(disk / "pictures")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        path = write_recipe(bench.place / "rodata.yaml", records)
        process = parts.start(parts.command(path, bench.place / "ro-run"))
        code, told = parts.ended(process)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=False)
    return Outcome(code, last(told), "trains as usual", code == 0)


def vanishing_data(bench: Bench) -> Outcome:
    """The folder of the pictures is moved away during training and comes back later."""
    pictures = bench.place / "pictures"
    records = write_pictures(pictures)
    path = write_recipe(bench.place / "vanish.yaml", records)
    folder = bench.place / "vanish"
    process = running(path, folder)
    pictures.rename(bench.place / "gone")
    code, told = parts.ended(process)
    (bench.place / "gone").rename(pictures)
    return bench.resumed(path, folder, code, told, "samples cannot be read, more than")
