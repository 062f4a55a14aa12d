"""Writes small installed plugin packages into a folder that is on the path."""

from __future__ import annotations

from pathlib import Path

PLUGIN = """
from mmadapt.hookspecs import hookimpl


@hookimpl
def register_fusions(register):
    register({name!r}, "{package}.code:Mine", "a fusion for tests")
"""
CODE = """
from mmadapt import Fusion
from pydantic import BaseModel, ConfigDict


class Mine(Fusion):
    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid")
        alpha: float = 1.0
        scales: tuple[tuple[int, int], ...] = ()
"""


def write_plugin(
    folder: Path,
    package: str,
    plugin: str = PLUGIN,
    code: str = CODE,
    name: str = "mine",
    version: str = "1.2",
    points: str = "",
) -> None:
    """Write a package with `plugin` and `code` modules, and the metadata that announces it."""
    home = folder / package
    home.mkdir()
    (home / "__init__.py").write_text("")
    text = plugin.replace("{name!r}", repr(name)).replace("{package}", package)
    (home / "plugin.py").write_text(text)
    (home / "code.py").write_text(code)
    info = folder / f"{package}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    points = points or f"{package} = {package}.plugin\n"
    (info / "entry_points.txt").write_text(f"[mmadapt]\n{points}")
