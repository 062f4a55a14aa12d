"""The examples in docstrings run, in a folder with the files that they speak of."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmadapt
from mmadapt_shapes.render import write_mp4, write_wav

REPOSITORY = Path(__file__).parents[2]
PLUGINS = sorted(path for path in (REPOSITORY / "plugins").glob("*/*.py") if path.stem != "example")
CORE = [
    found.name
    for found in pkgutil.walk_packages(mmadapt.__path__, "mmadapt.")
    if not found.name.startswith(("mmadapt.templates", "mmadapt.cli.__main__"))
]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def _has_examples(name: str) -> bool:
    base = REPOSITORY / ("plugins" if name.startswith("mmadapt_") else ".")
    file = base.joinpath(*name.split("."))
    source = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    return ">>> " in source.read_text(encoding="utf-8")


MODULES = [
    name
    for name in [*CORE, *(".".join(path.with_suffix("").parts[-2:]) for path in PLUGINS)]
    if _has_examples(name.removesuffix(".__init__"))
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    Image.new("RGB", (32, 32)).save(folder / "cat.png")
    write_mp4(folder / "dog.mp4", random.integers(0, 255, (16, 64, 64, 3), dtype=np.uint8))
    write_wav(folder / "dog.wav", random.normal(size=48000) * 0.1)
    (folder / "recipes").symlink_to(REPOSITORY / "recipes")
    return folder


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, files, monkeypatch):
    monkeypatch.chdir(files)
    found = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert found.failed == 0
