"""Strangers' packages in a virtual environment of their own: installed, used, then broken.

    python -m tests.plugins_apart.prove

A fresh environment sees the packages of the one that runs this script (torch is not installed
again), and gets by pip what `mmadapt new-plugin` writes, one package of each kind. Their tests are
run as written; a recipe names all five, trains and generates. Then the fusion's package is broken
in six ways, one after the other: every command that does not need it must work as before,
`mmadapt plugins` must tell, and a recipe that names it must fail with its place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from PIL import Image

KINDS = ("fusion", "encoder", "head", "source", "metric")
PLUGIN = """from mmadapt.hookspecs import hookimpl

@hookimpl
def register_fusions(register):
    register({name!r}, "mmadapt_fusion_apart.fusion:{target}", "a fusion")
"""


@dataclass(frozen=True)
class Break:
    """One way to break the fusion's package: what file gets what text, and what must be told."""

    name: str
    file: str
    text: str
    listed: str  # in the status of `plugins --verify`
    named: str  # in the error of a recipe that names it


BREAKS = (
    Break(
        "import error in the plugin module",
        "plugin.py",
        "raise ImportError('torn apart')\n",
        "broken: ImportError: torn apart",
        "did not load (ImportError: torn apart)",
    ),
    Break(
        "missing dependency of the plugin module",
        "plugin.py",
        "import not_there\n",
        "broken: ModuleNotFoundError: No module named 'not_there'",
        "No module named 'not_there'",
    ),
    Break(
        "missing dependency of the class",
        "fusion.py",
        "import not_there\n",
        "needs the package 'not_there', which is not installed",
        "needs the package 'not_there', which is not installed",
    ),
    Break(
        "wrong type",
        "plugin.py",
        PLUGIN.format(name="fusion_apart", target="FusionApartConfig"),
        "must be a class that inherits from mmadapt.Fusion",
        "must be a class that inherits from mmadapt.Fusion",
    ),
    Break(
        "error while the class is imported",
        "fusion.py",
        "raise SystemExit('gone')\n",
        "SystemExit: gone",
        "SystemExit: gone",
    ),
    Break(
        "name clash with mmadapt's own",
        "plugin.py",
        PLUGIN.format(name="adem", target="FusionApartFusion"),
        "conflict with mmadapt_adem",
        "is registered by mmadapt_adem 0.1.0 and mmadapt_fusion_apart 0.1.0",
    ),
)


class Apart:
    """The environment, its folder, and the table of what was seen."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder, folder / "venv"
        venv.create(self.environment, with_pip=False)
        self.python = self.environment / "bin" / "python"
        self.site = next((self.environment / "lib").glob("python*/site-packages"))
        shared = sysconfig.get_path("purelib")  # a .pth, because that may be an environment, too
        (self.site / "shared.pth").write_text(f"import site; site.addsitedir({shared!r})\n")
        self.rows: list[tuple[str, bool, str]] = []

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs Python in the environment."""
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"} | environment,
            capture_output=True,
            text=True,
        )

    def mmadapt(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of mmadapt in the environment."""
        return self.run("-m", "mmadapt.cli", *arguments, **environment)

    def note(self, what: str, is_right: bool, seen: str) -> None:
        """Prints and keeps a row."""
        self.rows.append((what, is_right, seen))
        seen = seen.strip().replace("|", "\\|").replace(str(self.folder), "…")
        print(f"| {what} | {'yes' if is_right else '**no**'} | {seen[:300]} |", flush=True)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said last."""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def install(apart: Apart) -> None:
    """One package of each kind, written, installed, tested and listed."""
    for kind in KINDS:
        made = apart.mmadapt("new-plugin", kind, f"{kind}_apart")
        package = apart.folder / f"mmadapt-{kind}-apart"
        pip = apart.run(
            "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", str(package)
        )
        tested = apart.run(
            "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(package), str(package)
        )
        good = not (made.returncode or pip.returncode or tested.returncode)
        seen = last_line(pip if pip.returncode else tested)
        apart.note(f"new-plugin {kind}: pip install, its tests as written", good, seen)
    rows = json.loads(apart.mmadapt("plugins", "--verify", "--json").stdout)
    found = {row["kind"]: row["status"] for row in rows if row["name"].endswith("_apart")}
    apart.note("plugins --verify lists all five", found == dict.fromkeys(KINDS, "ok"), str(found))


def recipe(folder: Path) -> dict:
    """A recipe of nothing but the strangers' parts, beside the embedded LM."""
    (folder / "pictures").mkdir()
    lines = []
    for number, colour in enumerate(("red", "green", "blue", "white")):
        Image.new("RGB", (32, 32), colour).save(folder / "pictures" / f"{number}.png")
        lines.append(f"pictures/{number}.png\ta {colour} square\n")
    (folder / "captions.txt").write_text("".join(lines))
    source = {"use": "source_apart", "path": str(folder / "captions.txt")}
    return {
        "name": "apart",
        "lm": {"model": "embedded:lm"},
        "encoders": {"image": {"use": "encoder_apart"}},
        "fusion": {"use": "fusion_apart"},
        "head": {"use": "head_apart"},
        "data": {"train": source, "test": source},
        "train": {"max_steps": 2, "per_device_train_batch_size": 2},
        "evaluate": {"metrics": ["metric_apart"], "generate": {"max_new_tokens": 4}},
    }


def use(apart: Apart) -> None:
    """A recipe names the packages: it trains and generates; another one needs none of them."""
    written = recipe(apart.folder)
    (apart.folder / "apart.yaml").write_text(yaml.safe_dump(written))
    own = written | {
        "name": "own",
        "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
        "fusion": {"use": "prefix"},
        "head": {"use": "caption"},
        "evaluate": {"metrics": ["exact_match"], "generate": {"max_new_tokens": 4}},
    }
    (apart.folder / "own.yaml").write_text(yaml.safe_dump(own))
    for name in ("apart", "own"):
        done = apart.mmadapt("train", f"{name}.yaml")
        apart.note(f"train {name}.yaml", done.returncode == 0, last_line(done))
    done = apart.mmadapt("generate", "runs/apart", "--image", "pictures/0.png")
    apart.note("generate with the strangers' parts", done.returncode == 0, repr(done.stdout))


def limits(apart: Apart) -> None:
    """`MMADAPT_PLUGINS`, tracing, and code that is no package."""
    done = apart.mmadapt("plugins", "--json", MMADAPT_PLUGINS="mmadapt_fusion_apart,embedded")
    packages = sorted({row["package"] for row in json.loads(done.stdout)})
    wanted = ["mmadapt_embedded", "mmadapt_fusion_apart"]
    apart.note("MMADAPT_PLUGINS=a,b", packages == wanted, ", ".join(packages))
    done = apart.mmadapt("plugins", MMADAPT_TRACE_PLUGINS="1")
    lines = [line for line in done.stderr.splitlines() if "fusion_apart" in line]
    apart.note("MMADAPT_TRACE_PLUGINS=1", len(lines) >= 2, lines[0] if lines else last_line(done))
    code = "fusion.use=mmadapt_fusion_apart.fusion:FusionApartFusion"
    refused = apart.mmadapt("check", "--no-memory", "apart.yaml", code)
    apart.note("module:Class without the flag", refused.returncode == 2, last_line(refused))
    allowed = apart.mmadapt("check", "--no-memory", "--allow-code", "apart.yaml", code)
    seen = allowed.stdout.splitlines()[0] if allowed.stdout else last_line(allowed)
    apart.note("module:Class with --allow-code", allowed.returncode == 0, seen)


@contextmanager
def broken(apart: Apart, how: Break) -> Iterator[None]:
    """The fusion's package, broken for a while."""
    file = apart.site / "mmadapt_fusion_apart" / how.file
    before = file.read_text()
    file.write_text(how.text)
    try:
        yield
    finally:
        file.write_text(before)


def commands(how: Break) -> dict[str, tuple[str, ...]]:
    """Commands that must not care."""
    own = "own.yaml"
    found = {
        "--help": ("--help",),
        "plugins": ("plugins",),
        "schema": ("schema",),
        "show": ("show", own),
        "check": ("check", own),
        "train": ("train", own, "-o", f"runs/{abs(hash(how.name))}"),
        "evaluate": ("evaluate", "runs/own"),
        "generate": ("generate", "runs/own", "--image", "pictures/1.png"),
        "new-plugin": ("new-plugin", "metric", f"m{abs(hash(how.name))}"),
    }
    return found


def break_it(apart: Apart, how: Break) -> None:
    """Breaks the package in one way and runs every command."""
    with broken(apart, how):
        failed = {
            name: last_line(done)
            for name, arguments in commands(how).items()
            if (done := apart.mmadapt(*arguments)).returncode
        }
        apart.note(
            f"{how.name}: every other command works", not failed, str(failed or "9 commands")
        )
        verified = apart.mmadapt("plugins", "--verify", "--json")
        statuses = [row["status"] for row in json.loads(verified.stdout) if row["status"] != "ok"]
        matching = [status for status in statuses if how.listed in status]
        told = bool(matching) and verified.returncode == 2
        apart.note(f"{how.name}: plugins --verify tells", told, "; ".join(matching or statuses))
        changes = ["fusion.use=adem"] if "clash" in how.name else []
        named = apart.mmadapt("check", "--no-memory", "apart.yaml", *changes)
        is_fatal = named.returncode == 2 and how.named in named.stderr
        place = "override" if changes else "apart.yaml:"
        clean = is_fatal and place in named.stderr and "Traceback" not in named.stderr
        apart.note(f"{how.name}: fatal where it is named", clean, last_line(named))


def main() -> int:
    """Prints the table; returns 1 where something is not as it must be."""
    print("| what | as it must be | seen |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        apart = Apart(Path(scratch))
        steps: list[Callable[[Apart], None]] = [install, use, limits]
        for step in steps:
            step(apart)
        for how in BREAKS:
            break_it(apart, how)
    return 0 if all(is_right for _, is_right, _ in apart.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
