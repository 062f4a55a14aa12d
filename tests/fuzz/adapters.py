"""Damaged adapter folders and JSON lines: every one is loaded as what it says, or refused.

    python -m tests.fuzz.adapters [--count 10000] [--seed 0]

Half are adapter folders, half `.jsonl` files, read one after the other in one process. Of each is
asked: one of our errors, of one message; or a correct load, which is checked by other means (the
model's tensors against the bytes of the file, the media of every sample against their folder).
After a refusal the model is as it was. No other exception, at most five seconds, no file written
and none read, no process or connection started, outside the folder and the installed packages.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import math
import os
import random
import shutil
import struct
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from huggingface_hub import constants

from mmadapt import composition, weights
from mmadapt.adapters import checkpoint
from mmadapt.adapters.files import WEIGHTS
from mmadapt.errors import MMAdaptError
from mmadapt_jsonl.source import JsonlConfig, JsonlSource
from tests.fuzz.damages import ADAPTERS, JSONL, unpacked
from tests.fuzz.tables import damage_table
from tests.tiny import tiny_lm, tiny_tokenizer

LIMIT, STUCK = 5.0, 120.0  # seconds: a fault, and the end of the process
INSTALLED = [
    *{os.path.realpath(path) for path in sysconfig.get_paths().values()},
    str(Path(__file__).parents[2]),
    sys.base_prefix,
]
HARMLESS = ("/proc/mounts",)  # torch looks there once
LIBRARIES = "/torchinductor_"  # torch makes its folder when LoRA's library is imported
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate")
STRANGERS = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "socket.connect",
    "shutil.",
    "pickle.",
)
RECIPE = {
    "name": "fuzzed",
    "lm": {"model": "embedded:lm"},
    "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
    "fusion": {"use": "prefix", "connector": "linear", "level": -2, "pool": [2, 2]},
    "head": {"use": "caption", "prompt": "a picture of"},
    "data": {"test": {"use": "shapes", "media": "image", "split": "test"}},
    "evaluate": {"metrics": ["exact_match"]},
}
FORMATS = {"F32": "f", "F64": "d", "I64": "q", "I32": "i", "I8": "b", "U8": "B"}


@dataclass
class Outcome:
    """What became of one: `loaded`, `refused` or `raised`, and what must not be."""

    kind: str
    number: int
    result: str
    seconds: float
    faults: list[str] = field(default_factory=list)


class Watch:
    """Hears of files opened and changed, processes and connections, while it is on."""

    def __init__(self, home: Path) -> None:
        self.home, self.found = os.path.realpath(home), []
        self.is_on = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.is_on or LIBRARIES in str(arguments[:1]):
            return
        if event == "open" and isinstance(arguments[0], str):
            writes = bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            place = os.path.realpath(arguments[0])
            if arguments[0] in HARMLESS:
                return
            inside = place.startswith(self.home)
            if writes or not (inside or place.startswith(tuple(INSTALLED))):
                self.found.append(f"{'write' if writes else 'open'} {place[:200]}")
        elif event in CHANGES or event.startswith(STRANGERS):
            self.found.append(f"{event} {str(arguments[:2])[:200]}")

    @contextmanager
    def on(self) -> Iterator[list[str]]:
        """Collects what the block does."""
        self.found, self.is_on = [], True
        try:
            yield self.found
        finally:
            self.is_on = False


class Bench:
    """A good adapter, a model to load into, media files with secrets beside them."""

    def __init__(self, home: Path) -> None:
        self.home = home / "work"
        self.good, self.adapter, self.data = (self.home / n for n in ("good", "adapter", "data"))
        self.home.mkdir()
        (home / "secret.png").write_bytes(b"secret")
        (self.home / "outside").write_bytes(b"secret")
        self.lm, self.tokenizer = tiny_lm("llama"), tiny_tokenizer(["a", "picture", "of"])
        self.lm.resize_token_embeddings(len(self.tokenizer))
        recipe = composition.load_recipe(RECIPE)
        torch.manual_seed(0)
        self.model = composition.compose(recipe, lm=self.lm, tokenizer=self.tokenizer)
        self.model.save_pretrained(self.good)
        _media(self.data)
        self.values = self._now()

    def adapter_case(self, kind: str, rng: random.Random) -> Callable[[], list[str]]:
        """Damages a copy of the good adapter; returns what loads and checks it."""
        _cleared(self.adapter)
        shutil.copytree(self.good, self.adapter)
        ADAPTERS[kind](self.adapter, rng)
        if kind in ("recipe", "files"):
            return self._load_whole
        return self._load_into

    def jsonl_case(self, kind: str, rng: random.Random) -> Callable[[], list[str]]:
        """Writes a damaged `.jsonl`; returns what reads and checks it."""
        file = self.data / "fuzzed.jsonl"
        file.write_bytes(JSONL[kind](rng))
        return lambda: _strangers(JsonlSource(JsonlConfig(path=str(file))), self.data)

    def _load_into(self) -> list[str]:
        checkpoint.load_into(self.model, self.adapter)
        found = _differences(self._now(), self.adapter / WEIGHTS)
        self.model.load_adapter_state_dict(self.values)
        return found

    def _load_whole(self) -> list[str]:
        model = composition.load(self.adapter, lm=self.lm, tokenizer=self.tokenizer)
        return _differences(model.adapter_state_dict(), self.adapter / WEIGHTS)

    def _now(self) -> dict[str, torch.Tensor]:
        return {n: t.clone() for n, t in self.model.adapter_state_dict().items()}

    def changed(self) -> list[str]:
        """What a refusal must not have done."""
        now = self._now()
        same = all(torch.equal(now[name], value) for name, value in self.values.items())
        return [] if same else ["the model was changed"]


def _media(folder: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "a.wav"):
        (folder / name).write_bytes(b"media")
    (folder / "out.png").symlink_to("../../secret.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "folder_out").symlink_to("../..")
    os.mkfifo(folder / "fifo")


def _cleared(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _differences(state: Any, file: Path) -> list[str]:
    """Tensors that are not what the file says, read without safetensors' own reader."""
    header, body = unpacked(file.read_bytes())
    found = [f"not in the file: {name}" for name in set(state) - set(header)]
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if entry["dtype"] not in FORMATS:
            continue  # half precision and its like: their sizes are checked by shape alone
        values = [v for (v,) in struct.iter_unpack("<" + FORMATS[entry["dtype"]], body[begin:end])]
        given = torch.tensor(values, dtype=torch.float64).float()
        own = state[name].detach().flatten().float()
        if not torch.equal(given.nan_to_num(7.0), own.nan_to_num(7.0)):
            found.append(f"other values: {name}")
    return found


def _strangers(source: JsonlSource, folder: Path) -> list[str]:
    """Samples whose media lie elsewhere, or that hold what is no sample."""
    found = []
    home = os.path.join(os.path.realpath(folder), "")
    for index in range(len(source)):
        sample = source[index]
        if not isinstance(sample["id"], str):
            found.append(f"id {sample['id']!r}")
        for part in sample["media"]:
            place = os.path.realpath(part["path"])
            if not place.startswith(home) or not os.path.isfile(place):
                found.append(f"medium {part['path'][:200]}")
            if not all(math.isfinite(part.get(key, 0.0)) for key in ("start", "end")):
                found.append(f"times {part}")
        if not all(isinstance(text, str) for text in sample.get("references") or []):
            found.append(f"references {str(sample['references'])[:200]}")
    return found


def _outcome(bench: Bench, watch: Watch, case: Callable[[], list[str]], name: Any) -> Outcome:
    """Runs one case under watch."""
    before = _listing(bench.home)
    faults: list[str] = []
    start = time.perf_counter()
    with watch.on() as events:
        try:
            faults += case()
            result = "loaded"
        except MMAdaptError as error:
            result = "refused"
            if not str(error).strip() or len(str(error)) > 20_000:
                faults.append(f"an error of {len(str(error))} letters")
        except BaseException as error:  # what this script is after
            result = "raised"
            at = traceback.extract_tb(error.__traceback__)[-1]
            faults.append(f"{type(error).__name__}: {str(error)[:200]} ({at.filename}:{at.lineno})")
    seconds = time.perf_counter() - start
    faults += [f"took {seconds:.1f} s"] * (seconds > LIMIT) + events + bench.changed()
    if _listing(bench.home) != before:
        faults.append("files have come, gone or changed")
    return Outcome(*name, result, seconds, faults)


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """Every file below a folder, its size and its time."""
    found = []
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found.append((str(path), status.st_size, status.st_mtime_ns))
    return found


def run(count: int, seed: int, only: int | None = None) -> list[Outcome]:
    """Damages and loads `count` adapters and files; a function of the seed.

    Args:
        count: how many.
        seed: of them all.
        only: the number of the one that is wanted.
    """
    outcomes = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        mock.patch.object(weights, "hub_is_reachable", lambda: False),
        # A recipe may name a hub model, and the hub's client looks for the user's token.
        mock.patch.object(constants, "HF_TOKEN_PATH", str(Path(scratch, "work", "token"))),
    ):
        bench = Bench(Path(scratch))
        composition.load(
            bench.good, lm=bench.lm, tokenizer=bench.tokenizer
        )  # imports what it needs
        watch = Watch(bench.home)
        kinds = [*((bench.adapter_case, k) for k in [*ADAPTERS, "recipe", "recipe"])]
        files = [(bench.jsonl_case, kind) for kind in JSONL]
        for number in range(count) if only is None else [only]:
            rng = random.Random(f"{seed}.{number}")
            group = files if number % 2 else kinds
            make, kind = group[number // 2 % len(group)]
            faulthandler.dump_traceback_later(STUCK, exit=True)
            case = make(kind, rng)
            outcomes.append(_outcome(bench, watch, case, (kind, number)))
            faulthandler.cancel_dump_traceback_later()
        _cleared(bench.adapter)
    return outcomes


def table(outcomes: list[Outcome]) -> str:
    """One line for each way of damaging."""
    rows = [(one.kind, one.result, one.faults, one.seconds) for one in outcomes]
    return damage_table(rows, [*ADAPTERS, *JSONL])


def main() -> int:
    """Prints the table and every fault; returns 1 if there is one."""
    parser = argparse.ArgumentParser(description="Damage adapters and JSON lines, and load them.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the one of this number")
    options = parser.parse_args()
    outcomes = run(options.count, options.seed, options.only)
    print(table(outcomes))
    faulty = [outcome for outcome in outcomes if outcome.faults]
    for outcome in faulty:
        print(json.dumps([outcome.kind, outcome.number, outcome.faults[:3]]))
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
