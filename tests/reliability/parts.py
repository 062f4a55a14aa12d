"""Parts that go wrong on purpose, and a run of them in a process of its own."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mmadapt.recipe import load_recipe
from tests import world
from tests.toy import EverySite

ROOT = Path(__file__).parents[2]
HERE = "tests.reliability.parts"
LIMIT = 600.0  # seconds after which a run counts as hanging


class FaultyConfig(world.ColourConfig):
    pause: float = 0.0  # seconds that reading a sample takes
    wrong: int | None = None  # a sample without text to learn from
    wrong_rank: int = 0  # the process that finds it so
    hangs_after: str = ""  # a file, and while it is there nothing is read
    words: int = 1  # of the first half of the targets
    silent: bool = False  # every other pair of samples has no media


class FaultySource(world.ColourSource):
    """Colours, slowly, and with faults."""

    Config = FaultyConfig

    def __getitem__(self, index: int) -> Any:
        time.sleep(self.config.pause)
        while self.config.hangs_after and Path(self.config.hangs_after).exists():
            time.sleep(0.05)
        sample = super().__getitem__(index)
        if index == self.config.wrong and int(os.environ.get("RANK", 0)) == self.config.wrong_rank:
            sample["target"] = ""
        elif index < self.config.count // 2:
            sample["target"] = " ".join([sample["target"]] * self.config.words)
        if self.config.silent and index // 2 % 2:
            sample["media"] = []
        return sample


class PoisonedProcessor(world.ColourProcessor):
    """Gives no number for medium 5, as an encoder in float16 does that overflows."""

    def __call__(self, media: Any, rng: Any = None) -> torch.Tensor:
        values = super().__call__(media, rng)
        return values * float("nan") if media["path"].endswith("/5") else values


class PoisonedEncoder(world.ColourEncoder):
    """Reads colours, all but one."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.processor = PoisonedProcessor()


class Hungry(EverySite):
    """Asks for more memory than a process may have, in its third step."""

    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(config, context)
        self.steps = 0

    def prepare(self, features: Any, state: Any) -> Any:
        self.steps += self.training
        if self.steps == 3 and "MMADAPT_TEST_LIMIT" in os.environ:
            _, hard = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (64 * 2**30, hard))
            torch.ones(64 * 2**30, dtype=torch.uint8)
        return super().prepare(features, state)


def launched(processes: int, *line: str) -> list[str]:
    """A command line of `mmadapt`, by torchrun where there are several processes."""
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [*start, "-m", "mmadapt.cli", *line]


def command(path: Path, folder: Path, *more: str, processes: int = 1) -> list[str]:
    """The command of a run."""
    return launched(processes, "train", str(path), "--allow-code", "-o", str(folder), *more)


def write(path: Path, lm: Path, source: dict[str, Any] | None = None, **blocks: Any) -> Path:
    """Writes a recipe whose training samples come from `FaultySource`."""
    data = {"train": {"use": f"{HERE}:FaultySource", **(source or {})}, **blocks.pop("data", {})}
    load_recipe(world.recipe(lm, data=data, **blocks)).dump(path)
    return path


def start(line: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Starts a command with its output in pipes, in a session of its own."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **options.pop("env", {})}
    return subprocess.Popen(
        line,
        cwd=ROOT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **options,
    )


def ended(process: subprocess.Popen[str], limit: float = LIMIT) -> tuple[int, str]:
    """Exit code and stderr of a process, which is killed with its children when it hangs."""
    try:
        _, told = process.communicate(timeout=limit)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, told


def wait_for(found: Callable[[], Any], limit: float = LIMIT) -> None:
    """Waits until something is there."""
    until = time.monotonic() + limit
    while not found():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def same_adapter(one: Path, two: Path) -> bool:
    """Whether two runs ended in the same bits."""
    from safetensors.torch import load_file

    a, b = (load_file(folder / "adapter" / "adapter.safetensors") for folder in (one, two))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
