"""Every block of README.md and docs/ does what it says; docs/reference/tested.md tells how."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml

from mmadapt.recipe import load_and_resolve
from tests import forked
from tests.docs import shell
from tests.docs.blocks import Block, blocks
from tests.docs.workspace import REPOSITORY, Workspace

BASE = "recipes/video_caption_adem.yaml"
KINDS = ("fusion", "head", "encoders", "lm", "data", "train", "evaluate")
DOCUMENTS = sorted(
    path.relative_to(REPOSITORY)
    for path in chain([REPOSITORY / "README.md"], (REPOSITORY / "docs").rglob("*.md"))
    if not any(part.startswith(".") for part in path.relative_to(REPOSITORY).parts)
)
TESTED = (REPOSITORY / "docs/reference/tested.md").read_text()


def run_yaml(block: Block, workspace: Workspace) -> None:
    """A recipe, or keys that are laid over one, resolves with the installed plugins."""
    written = yaml.safe_load(block.text)
    if "lm" in written and "fusion" in written and "head" in written:
        load_and_resolve(written, allow_code=True)
        return
    base = yaml.safe_load(Path(block.marks.get("base") or BASE).read_text())
    assert "extends" not in base, f"{base['name']} extends another; name a whole recipe"
    for key, value in written.items():
        keep = key in ("train", "evaluate", "data") and isinstance(base.get(key), dict)
        base[key] = {**base[key], **value} if keep else value
    load_and_resolve(base, allow_code=True)


def run_block(block: Block, workspace: Workspace, printed: str) -> str:
    """Run one block; return what its last command printed, which a block of output is held to."""
    if "file" in block.marks:
        workspace.write(block.marks["file"], block.text)
    if "not run" in block.marks:
        assert len(block.marks["not run"].split()) > 2, "say why it is not run"
        if block.language == "bash":
            shell.parse(block.text)
        elif block.language == "python":
            compile(block.text, str(block), "exec")
    elif block.language == "python":
        return workspace.execute(block.text, str(block.document), block.line)
    elif block.language == "bash":
        workspace.in_full = "in full" in block.marks
        return shell.run_block(block.text, workspace)
    elif block.language == "yaml":
        run_yaml(block, workspace)
    elif block.language == "json":
        for line in block.text.splitlines():
            json.loads(line)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif "output" in block.marks:
        assert_printed(block.text, printed)
    elif "file" not in block.marks:
        raise AssertionError("nothing runs this block: give it a language, or a mark and a reason")
    return printed


def assert_printed(expected: str, printed: str) -> None:
    """Every line stands in the output, in order, however wide its gaps; `…` stands for anything."""
    text, position = " ".join(printed.split()), 0
    for line in expected.splitlines():
        for part in line.split("…"):
            words = " ".join(part.split())
            found = text.find(words, position)
            assert found >= 0, f"{words!r} is not in what was printed:\n{printed}"
            position = found + len(words)


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """A folder of the whole test run, of all its processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "documents"
    folder.mkdir(exist_ok=True)
    return folder


def train(recipe: str, run: Path) -> None:
    """Train a recipe of the repository, shortly, whole or not at all."""
    draft = run.with_name(f"{run.name}.draft")
    words = shell.shortened(["train", recipe, "--output-dir", str(draft)])
    result = shell.CliRunner().invoke(shell.app, words)
    assert result.exit_code == 0, result.output
    draft.rename(run)


class Document:
    """All blocks of one document, in order, in one folder; all failures are told."""

    path: Path

    def test_every_block_runs(self, tmp_path, shared, monkeypatch):
        monkeypatch.syspath_prepend(str(REPOSITORY))
        monkeypatch.setattr("mmadapt.compare.recipes.subprocess", forked)
        failures, printed = [], ""
        with Workspace(tmp_path, shared, train) as workspace:
            for block in blocks(self.path, REPOSITORY):
                try:
                    printed = run_block(block, workspace, printed)
                except Exception as error:
                    failures.append(f"{block}: {type(error).__name__}: {error}")
        assert not failures, "\n".join(failures)


for _path in DOCUMENTS:  # a class each, so that they are spread over the processes
    _name = "Test" + re.sub(r"\W", "_", str(_path))
    globals()[_name] = type(_name, (Document,), {"path": _path})


def test_what_is_shortened_is_told():
    words = {word for extra in shell.SHORTER.values() for word in extra.split()}
    assert [word for word in words if word not in TESTED] == []
    assert f"data.SPLIT.count={shell.SHAPES}" in TESTED and "evaluate.blind=[removed]" in TESTED
