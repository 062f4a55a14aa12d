"""Faults of the feature cache: a disk that fills up, entries that are damaged."""

from __future__ import annotations

import random
from pathlib import Path

from mmadapt.data.features.entry import read_entry
from tests.reliability import parts
from tests.reliability.bench import (
    Bench,
    Outcome,
    last,
    shown,
    small_disk,
    write_pictures,
    write_recipe,
)

SAME = "the same bits as with a whole cache"
FILES = 100  # that the full disk takes: fewer than there are pictures


def disk_full_while_caching(bench: Bench) -> Outcome:
    """The disk of the feature cache fills up while features are kept."""
    path = write_recipe(
        bench.place / "r.yaml", write_pictures(bench.place / "pictures"), cache=True
    )
    cached(path, bench.place / "whole", bench.place / "cache")
    with small_disk(bench.place / "disk", f"size=8g,nr_inodes={FILES}") as disk:
        code, told = cached(path, bench.place / "full", disk)
        found = entries(disk)
        whole = [read_entry(entry, check=True) for entry in found]
    same = code == 0 and parts.same_adapter(bench.place / "full", bench.place / "whole")
    seen = shown(told, "feature cache")
    ok = same and "No space left on device" in seen and told.count("feature cache:") == 1
    kept = (
        f"{len(whole)} of 192 pictures cached, all whole; {SAME}" if same else f"LOST: {last(told)}"
    )
    return Outcome(code, seen, kept, ok and 0 < len(whole) < FILES)


def corrupted_cache_entry(bench: Bench) -> Outcome:
    """Entries of the feature cache are damaged: a bit, half of the file, all of it."""
    path = write_recipe(
        bench.place / "r.yaml", write_pictures(bench.place / "pictures"), cache=True
    )
    cache = bench.place / "cache"
    cached(path, bench.place / "whole", cache)
    hurt = random.Random(0).sample(entries(cache), 12)
    for number, entry in enumerate(hurt):
        content = bytearray(entry.read_bytes())
        content[-9] ^= 1
        entry.write_bytes((content, content[: len(content) // 2], b"")[number % 3])
    code, told = cached(path, bench.place / "again", cache)
    same = code == 0 and parts.same_adapter(bench.place / "again", bench.place / "whole")
    made = [read_entry(entry, check=True) for entry in hurt]
    kept = f"{len(made)} of {len(hurt)} made again; {SAME}" if same else f"LOST: {last(told)}"
    return Outcome(
        code, shown(told, "damaged"), kept, same and told.count("damaged (") == len(hurt)
    )


def cached(path: Path, folder: Path, cache: Path) -> tuple[int, str]:
    """A run whose features are kept in a folder."""
    return parts.ended(parts.start(parts.command(path, folder), env={"MMADAPT_CACHE": str(cache)}))


def entries(cache: Path) -> list[Path]:
    """The files of all entries."""
    return sorted(cache.glob("features/*/??/*.safetensors"))
