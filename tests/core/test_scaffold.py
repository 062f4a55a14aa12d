"""New plugin packages: their own tests pass as written; names and folders are checked."""

from __future__ import annotations

import ast
import os
import re
import tomllib

import pytest
import yaml
from typer.testing import CliRunner

from mmadapt.cli.app import app
from mmadapt.errors import PluginError
from mmadapt.scaffold import KINDS, rendered, write_plugin
from tests.forked import Forked

CONTENTS = [
    ".github/workflows/tests.yml",
    ".gitignore",
    "README.md",
    "mmadapt_blur/__init__.py",
    "mmadapt_blur/fusion.py",
    "mmadapt_blur/plugin.py",
    "pyproject.toml",
    "tests/test_fusion.py",
]


def test_the_tests_of_every_kind_pass_as_written(tmp_path, monkeypatch):
    folders = [write_plugin(kind, f"my_{kind}", tmp_path) for kind in KINDS]
    for folder in folders:
        monkeypatch.syspath_prepend(folder)  # forked processes inherit it
    options = ["-q", "-c", os.devnull, "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    tests = [str(folder / "tests") for folder in folders]
    pytests = Forked("pytest", *options, "--import-mode=importlib", *tests)
    out, _ = pytests.communicate()
    assert pytests.returncode == 0, out[-4000:]
    assert int(re.search(r"(\d+) passed", out)[1]) > 70


def test_a_package_is_whole_and_nothing_of_the_template_is_left(tmp_path):
    folder = write_plugin("fusion", "blur", tmp_path)
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert files == set(CONTENTS)
    for file in files:
        assert "example" not in (folder / file).read_text().lower()
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == "mmadapt-blur"
    assert project["project"]["entry-points"]["mmadapt"] == {"blur": "mmadapt_blur.plugin"}
    assert "class BlurFusion(Fusion):" in (folder / "mmadapt_blur/fusion.py").read_text()
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_what_they_say(kind):
    for path, text in rendered(kind, f"soft_{kind}"):
        if path.suffix == ".py":
            compile(text, str(path), "exec")
            assert f"{kind.capitalize()}{kind.capitalize()}" not in text
            assert max(map(len, text.splitlines()), default=0) <= 100
        if path.suffix == ".yml":
            assert yaml.safe_load(text)["jobs"]


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("fusions", "blur", "unknown kind 'fusions'; kinds: encoder, fusion"),
        ("fusion", "Blur", "the name 'Blur' may hold lower-case letters"),
        ("fusion", "../blur", "may hold"),
        ("fusion", "2d", "a letter first"),
        ("fusion", "my-blur", "digits and '_'"),
        ("fusion", "adem", "the fusion 'adem' exists already"),
        ("encoder", "vision", "a package 'mmadapt_vision' is installed already"),
    ],
)
def test_what_cannot_be_written(kind, name, message, tmp_path):
    with pytest.raises(PluginError, match=re.escape(message)):
        write_plugin(kind, name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_tells_what_is_next_and_never_overwrites(tmp_path):
    arguments = ["new-plugin", "metric", "share", "--output", str(tmp_path / "new")]
    first, second = (CliRunner().invoke(app, arguments) for _ in range(2))
    folder = tmp_path / "new" / "mmadapt-share"
    assert first.exit_code == 0
    assert first.stdout.splitlines()[0] == f"wrote {folder}; next:"
    assert (second.exit_code, second.stderr) == (
        2,
        f"error: {folder} exists already; choose another name or --output\n",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_takes_less_than_sixty_lines(kind):
    """Lines of code: neither blank, nor comments, nor docstrings."""
    [text] = [text for path, text in rendered(kind, "blur") if path.name == f"{kind}.py"]
    tree = ast.parse(text)
    strings = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    told = {line for node in strings for line in range(node.lineno, node.end_lineno + 1)}
    code = [
        line
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.strip().startswith("#") and number not in told
    ]
    assert len(code) < 60
