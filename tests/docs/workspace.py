"""A place to run a document in: the repository's files, some media, runs that are trained once."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import shutil
import sys
import tomllib
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock
from PIL import Image

from mmadapt.registry import get_registry
from mmadapt_shapes.render import write_mp4, write_wav

REPOSITORY = Path(__file__).parents[2]
# The code is found where it is installed: `python -m` would find it in the current folder first.
LEFT_OUT = {".git", ".venv", "build", "dist", "mmadapt", "plugins", "runs", "tests"}
SENTENCES = ("a red circle", "a blue square", "a green ring", "a white cross")
Value = TypeVar("Value")


class Workspace:
    """Where the blocks of one document run; used as a context.

    Args:
        folder: An empty folder, which becomes the current one.
        shared: Where runs are kept for all documents.
        train: Trains a recipe of the repository into a folder.
    """

    repository = REPOSITORY

    def __init__(self, folder: Path, shared: Path, train: Callable[[str, Path], None]) -> None:
        self.folder, self.shared, self.train = folder, shared, train
        self.environment: dict[str, str] = {}
        self.module = types.ModuleType("documented")
        self.in_full = False  # whether the block at hand is run without being shortened

    def __enter__(self) -> Workspace:
        for item in REPOSITORY.iterdir():
            if item.name not in LEFT_OUT:
                (self.folder / item.name).symlink_to(item)
        write_media(self.folder)
        self.before = (Path.cwd(), set(sys.modules), list(sys.path), dict(os.environ))
        os.chdir(self.folder)
        os.environ["MMADAPT_CACHE"] = str(self.shared / "cache")
        sys.modules["documented"] = self.module  # where pydantic looks for annotations
        get_registry.cache_clear()
        return self

    def __exit__(self, *_: object) -> None:
        folder, modules, path, environment = self.before
        os.chdir(folder)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
        for name in set(sys.modules) - modules:
            if str(self.folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
        sys.modules.pop("documented", None)
        get_registry.cache_clear()

    def enter(self, folder: str) -> None:
        """`cd`."""
        os.chdir(folder)

    def in_package(self) -> bool:
        """Whether the current folder is a package's own, below the workspace."""
        here = Path.cwd().resolve()
        return self.folder.resolve() in here.parents and (here / "pyproject.toml").is_file()

    def write(self, name: str, text: str) -> None:
        """Put a file into the workspace, never into the repository behind it."""
        file = Path.cwd() / name
        assert self.folder in [file.parent.resolve(), *file.parent.resolve().parents], file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def execute(self, text: str, name: str, line: int) -> str:
        """Run Python in the document's own module; return what it printed."""
        code = compile("\n" * (line - 1) + text, name, "exec")  # so tracebacks name its lines
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, self.module.__dict__)
        return printed.getvalue()

    def provide(self, arguments: Iterable[str]) -> None:
        """Put in the runs that a command names, if a recipe of the repository makes them."""
        for word in arguments:
            found = re.match(r"runs/([\w-]+)", word)
            if found and not Path(found[0]).exists():
                recipe = f"recipes/{found[1].replace('-', '_')}.yaml"
                if (REPOSITORY / recipe).is_file():
                    shutil.copytree(self.trained(recipe, found[1]), found[0])

    def trained(self, recipe: str, name: str) -> Path:
        """The run folder of a recipe, which the first document that needs it trains."""
        run = self.shared / name
        with FileLock(f"{run}.lock"):
            if not run.exists():
                self.train(recipe, run)
        return run

    def install(self, package: Path) -> None:
        """What `pip install -e` leaves behind: the code on the path, and its entry points."""
        project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
        site = self.folder / ".site"
        info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(parents=True)
        head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(head)
        points = project["entry-points"]["mmadapt"].items()
        lines = ["[mmadapt]", *(f"{name} = {target}" for name, target in points)]
        (info / "entry_points.txt").write_text("\n".join(lines))
        sys.path[:0] = [str(site), str(package)]
        known = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(site), str(package), known]).rstrip(":")
        importlib.invalidate_caches()
        get_registry.cache_clear()

    def as_user(self, call: Callable[[], Value]) -> Value:
        """Call with the environment variables that the document has set."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            return call()
        finally:
            os.environ.clear()
            os.environ.update(before)


def write_media(folder: Path) -> None:
    """The files that documents speak of: pictures, a clip, a sound, records."""
    random = np.random.default_rng(0)
    for index, name in enumerate(("1.png", "2.png", "3.png", "cat.jpg")):
        Image.new("RGB", (48, 40), (60 * index, 200 - 60 * index, 90)).save(folder / name)
    frames = random.integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    write_mp4(folder / "clip.mp4", frames)
    write_wav(folder / "1.wav", random.normal(size=16000) * 0.1)
    records: list[dict[str, Any]] = [
        {"image": f"{1 + index % 3}.png", "captions": [text]}
        for index, text in enumerate(SENTENCES)
    ]
    write_lines(folder / "train.jsonl", records)
    write_lines(folder / "clips.jsonl", [{"video": "clip.mp4"}] * 2)


def write_lines(file: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records as JSON lines."""
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
