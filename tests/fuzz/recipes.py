"""Damaged recipes through the reader: every one ends in a recipe or in errors that say where.

    python -m tests.fuzz.recipes [--count 5000] [--seed 0] [--output docs/…]

The recipes of `recipes/` are damaged in turn and read in one process, each as a file beside the
recipe that it was; a quarter are left whole and get damaged `key=value` overrides. Of each is
asked: a recipe that reads back as itself, or problems that each have a place; no other exception;
no error that only a handler of anything met; at most a second; no file opened, folder listed,
module imported, process or connection started beyond what it names.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from mmadapt.errors import RecipeError
from mmadapt.recipe import load_and_resolve, load_recipe, parts
from mmadapt.recipe.filled import filled
from tests.fuzz.mutations import CANARY, KINDS, at, override, places, tree_of
from tests.fuzz.tables import damage_table

RECIPES = Path(__file__).parents[2] / "recipes"
LIMIT = 1.0  # seconds
WATCHED = (
    "open",
    "os.",
    "import",
    "exec",
    "subprocess.",
    "socket.",
    "ctypes.",
    "shutil.",
    "pickle.",
)
HARMLESS = ("os.fspath",)


@dataclass(frozen=True)
class Case:
    """A damaged recipe: what was done to which one."""

    kind: str
    file: Path
    overrides: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What became of one: `loaded`, `refused`, or what must not be."""

    case: Case
    result: str
    seconds: float
    faults: list[str] = field(default_factory=list)


class Watch:
    """Collects what Python's audit events say while it is on."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if self.events is not None and event.startswith(WATCHED) and event not in HARMLESS:
            self.events.append((event, str(arguments[0]) if arguments else ""))

    @contextmanager
    def on(self) -> Iterator[list[tuple[str, str]]]:
        """Gives the list that the events of the block go to."""
        self.events = found = []
        try:
            yield found
        finally:
            self.events = None


class Bench:
    """A copy of the recipes with what damaged ones may point to, and the reader under watch."""

    def __init__(self, folder: Path, watch: Watch, limit: float) -> None:
        self.folder, self.watch, self.limit = folder / "recipes", watch, limit
        shutil.copytree(RECIPES, self.folder)
        self.bases = sorted(self.folder.rglob("*.yaml"))
        self.originals = [file.relative_to(self.folder) for file in self.bases]
        self.texts = {file: file.read_text(encoding="utf-8") for file in self.bases}
        self.keys = {file: _keys(text) for file, text in self.texts.items()}
        for place in {file.parent for file in self.bases}:
            _surround(place)
        for file in self.bases:  # what is imported on first use is not what is watched
            filled(load_and_resolve(file)).to_yaml()

    def cases(self, count: int, seed: int) -> Iterator[Case]:
        """Writes `count` damaged recipes one after the other; a function of the seed."""
        kinds = list(KINDS)
        for number in range(count):
            rng = random.Random(f"{seed}.{number}")
            base = self.bases[number % len(self.bases)]
            if number % 4 == 3:
                given = tuple(override(rng, self.keys[base]))
                yield Case("overrides", base, given)
                continue
            kind = kinds[(number - number // 4) % len(kinds)]
            damaged = KINDS[kind](self.texts[base], rng)
            file = base.with_name("fuzzed.yaml")
            data = (
                damaged if isinstance(damaged, bytes) else damaged.encode("utf-8", "surrogatepass")
            )
            file.write_bytes(data)
            yield Case(kind, file)

    def outcome(self, case: Case) -> Outcome:
        """Reads one and says what became of it."""
        faults: list[str] = []
        met: list[str] = []

        def first_line(error: BaseException) -> str:  # of the handler of anything
            met.append(repr(error))
            return repr(error)

        gc.disable()
        with mock.patch.object(parts, "first_line", first_line), self.watch.on() as events:
            result, seconds = _read(case, faults)
        gc.enable()
        faults += [f"met by the handler of anything: {text}" for text in met]
        faults += [f"took {seconds:.2f} s"] * (seconds > self.limit)
        faults += self._strangers(case, events)
        return Outcome(case, result, seconds, faults)

    def _strangers(self, case: Case, events: Iterable[tuple[str, str]]) -> list[str]:
        """Events that a recipe has no business with."""
        text = case.file.read_bytes().decode("utf-8", "replace")
        found = []
        for event, what in events:
            inside = Path(what).resolve().is_relative_to(self.folder.resolve()) if what else False
            named = "extends" in text and Path(what).name in text
            if event in ("open", "os.listdir", "os.scandir") and (inside or named):
                continue
            found.append(f"{event} {what}")
        return found


def _read(case: Case, faults: list[str]) -> tuple[str, float]:
    """What became of a recipe, and the seconds of reading it."""
    start = time.perf_counter()
    try:
        resolved = load_and_resolve(case.file, case.overrides)
    except RecipeError as error:
        seconds = time.perf_counter() - start
        faults += _placeless(error, case)
        return "refused", seconds
    except BaseException as error:  # what this script is after
        at = traceback.extract_tb(error.__traceback__)[-1]
        faults.append(f"{type(error).__name__}: {str(error)[:200]} ({at.filename}:{at.lineno})")
        return "raised", time.perf_counter() - start
    seconds = time.perf_counter() - start
    try:
        text = filled(resolved).to_yaml()
        if load_recipe(_reread(case, text)).to_yaml() != text:
            faults.append("reads back as another recipe")
    except Exception as error:
        faults.append(f"cannot be written and read back: {error!r}"[:300])
    return "loaded", seconds


def _reread(case: Case, text: str) -> Path:
    file = case.file.with_name("again.yaml")
    file.write_text(text, encoding="utf-8")
    return file


def _placeless(error: RecipeError, case: Case) -> list[str]:
    """Problems that say nothing, or not where."""
    found = [] if error.problems else ["no problems"]
    for problem in error.problems:
        of_override = any(problem.file == f"override '{text}'" for text in case.overrides)
        has_place = problem.line >= 1 and problem.column >= 1 and Path(problem.file).name
        if not problem.message.strip() or not (of_override or has_place):
            found.append(f"no place: {problem}"[:300])
        if len(str(problem)) > 20_000:
            found.append(f"{len(str(problem))} letters long")
    return found


def _keys(text: str) -> dict[str, str]:
    """Dotted keys and values that a recipe may be overridden with."""
    tree = tree_of(text)
    own = {".".join(map(str, path)): json.dumps(at(tree, path)) for path in places(tree)}
    return own | {
        "train.max_steps": "5",
        "lm.dtype": "float32",
        "train.seed": "3",
        "extends": "null",
    }


def _surround(place: Path) -> None:
    """What `extends` may meet: circles, chains, a pipe, a link out, a damaged recipe."""
    (place / "loop_a.yaml").write_text("extends: loop_b.yaml\n")
    (place / "loop_b.yaml").write_text("extends: loop_a.yaml\n")
    for number in range(30):
        (place / f"chain_{number}.yaml").write_text(f"extends: chain_{number + 1}.yaml\n")
    (place / "chain_30.yaml").write_text("name: end\n")
    (place / "broken.yaml").write_text("name: [\n")
    (place / "other.yaml").write_text("name: 3\nlm: {modle: x}\n")
    (place / "link.yaml").symlink_to("/etc/hostname")
    os.mkfifo(place / "fifo.yaml")


def run(count: int, seed: int, limit: float = LIMIT) -> list[Outcome]:
    """Damages and reads `count` recipes, each in `limit` seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / f"{CANARY}.py").write_text("raise SystemExit('the canary was imported')\n")
        sys.path.insert(0, scratch)
        try:
            bench = Bench(Path(scratch), Watch(), limit)
            return [bench.outcome(case) for case in bench.cases(count, seed)]
        finally:
            sys.path.remove(scratch)


def table(outcomes: list[Outcome]) -> str:
    """One line for each way of damaging."""
    rows = [(one.case.kind, one.result, one.faults, one.seconds) for one in outcomes]
    return damage_table(rows, [*KINDS, "overrides"])


def main() -> int:
    """Prints the table and every fault; returns 1 if there is one."""
    parser = argparse.ArgumentParser(description="Damage recipes and read them.")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes = run(options.count, options.seed)
    print(table(outcomes))
    faulty = [outcome for outcome in outcomes if outcome.faults]
    for outcome in faulty:
        case, faults = outcome.case, outcome.faults[:3]
        print(f"\n{case.kind} {case.file.parent.name} {str(case.overrides)[:300]}: {faults}")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
