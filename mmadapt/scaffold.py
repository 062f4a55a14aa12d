"""Writing a new plugin package from the templates in `mmadapt/templates`."""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from mmadapt.errors import PluginError
from mmadapt.registry import get_registry

KINDS = ("encoder", "fusion", "head", "source", "metric")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_WORDS = re.compile(r"mmadapt[_-]example|[Ee]xample")


def write_plugin(kind: str, name: str, folder: Path) -> Path:
    """Write a package with one small working part, its contract test and all that is around it.

    Args:
        kind: One of `KINDS`.
        name: The word that recipes will use.
        folder: Where the package's folder `mmadapt-<name>` is made.

    Returns:
        The package's folder.

    Raises:
        PluginError: The kind is unknown, the name is not allowed or taken, or the folder exists.
    """
    check_name(kind, name)
    target = folder / f"mmadapt-{name.replace('_', '-')}"
    if target.exists():
        raise PluginError(f"{target} exists already; choose another name or --output")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as draft:  # whole or not at all
        for path, text in rendered(kind, name):
            file = Path(draft, "package", path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        shutil.move(Path(draft, "package"), target)
    return target


def check_name(kind: str, name: str) -> None:
    """Check a kind and a name.

    Raises:
        PluginError: The kind is unknown, or the name is not allowed or taken.
    """
    if kind not in KINDS:
        raise PluginError(f"unknown kind '{kind}'; kinds: {', '.join(KINDS)}")
    if not NAME.fullmatch(name):
        raise PluginError(
            f"the name '{name}' may hold lower-case letters, digits and '_', a letter first"
        )
    if name in get_registry().names(kind):
        raise PluginError(f"the {kind} '{name}' exists already; see `mmadapt plugins`")
    package = f"mmadapt_{name}"
    if importlib.util.find_spec(package) is not None:
        raise PluginError(f"a package '{package}' is installed already; choose another name")


def rendered(kind: str, name: str) -> Iterator[tuple[PurePosixPath, str]]:
    """The files of a new package: path below its folder, and text.

    Args:
        kind: One of `KINDS`.
        name: The word that recipes will use.
    """
    words = {
        "mmadapt_example": f"mmadapt_{name}",
        "mmadapt-example": f"mmadapt-{name.replace('_', '-')}",
        "Example": _class_name(name, kind),
        "example": name,
    }

    def named(text: str) -> str:
        return _WORDS.sub(lambda found: words[found[0]], text)

    templates = files("mmadapt") / "templates"
    for part in ("common", kind):
        for path, file in _files(templates / part, PurePosixPath()):
            shown = PurePosixPath(named(str(path)))
            parts = [re.sub(r"^dot-", ".", step) for step in shown.parts]
            yield PurePosixPath(*parts), named(file.read_text(encoding="utf-8"))


def _class_name(name: str, kind: str) -> str:
    """`my_fusion` gives `My`, to which the templates add `Fusion`."""
    word = name.removesuffix(kind).rstrip("_") or name
    return "".join(part.capitalize() for part in word.split("_"))


def _files(folder: Traversable, base: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    for item in sorted(folder.iterdir(), key=lambda found: found.name):
        if item.is_dir() and item.name != "__pycache__":
            yield from _files(item, base / item.name)
        elif item.is_file():
            yield base / item.name, item
