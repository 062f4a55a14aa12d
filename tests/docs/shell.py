"""Runs the commands of a bash block, the long ones with less to do."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import click
from click.testing import Result
from torch.distributed.run import get_args_parser
from typer.main import get_command
from typer.testing import CliRunner

from mmadapt.cli.app import app
from mmadapt.recipe import load_and_resolve
from tests.docs.workspace import Workspace
from tests.forked import Forked, ranks

# Laid over the commands, so that they end in seconds; docs/reference/tested.md names them.
SHORT = "train.max_steps=2 train.per_device_train_batch_size=2 train.disable_tqdm=true"
SHORTER = {
    "train": SHORT,
    "compare": f"{SHORT} --seeds 1 --learning-rates 1 --no-bench",
    "pytest": "--collect-only",
    "bench --data": "train.per_device_train_batch_size=2 --rounds 1",
    "bench": "lm.model=embedded:lm --rounds 1 --batch-size 1 --text-tokens 8 --labelled-tokens 4 "
    "--decode= --random-weights --against text-only,text-only-labelled",  # no room for a prefix
}
SECONDS = 300
PLAIN = ("cp", "ls", "mkdir")
SHAPES = 4  # samples of each split that reads the built-in world
LINE_END = re.compile(r"\\\n\s*")
_SEPARATORS = {"&&", ";"}


class BlockError(AssertionError):
    """A block of a document does not hold."""


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a block, in order, as lists of words."""
    for line in LINE_END.sub(" ", text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "&&"]:
            if word not in _SEPARATORS:
                words += [found for each in _braces(word) for found in sorted(glob(each)) or [each]]
            elif words:
                yield words
                words = []


def _braces(word: str) -> list[str]:
    """`a{b,c}` gives `ab` and `ac`, as a shell does; not what is written in quotes."""
    found = re.fullmatch(r"([\w./-]*)\{([\w,-]+)\}([\w./-]*)", word)
    return [found[1] + each + found[3] for each in found[2].split(",")] if found else [word]


def run_block(text: str, workspace: Workspace) -> str:
    """Run every command of a block; return what they printed."""
    return "".join(run(words, workspace) for words in commands(text))


def run(words: list[str], workspace: Workspace) -> str:
    """Run one command, with the shortening of its kind laid over it.

    Raises:
        BlockError: it fails, or nothing here knows how to run it.
    """
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        workspace.environment[name] = value
        if not words:
            return ""
    name, arguments = words[0], words[1:]
    if name == "cd":
        workspace.enter(arguments[0])
    elif name == "export":
        return run(arguments, workspace)
    elif name == "pip":
        install(arguments, workspace)
    elif name == "mmadapt":
        return invoke(arguments, workspace)
    elif name == "pytest":
        return run_tests(arguments, workspace)
    elif name == "torchrun":
        return launch(arguments, workspace)
    elif name == "python":
        check_script(arguments, workspace)
    elif name in PLAIN:
        return start(words, workspace)
    else:
        raise BlockError(f"no way to run: {shlex.join(words)}")
    return ""


def invoke(arguments: list[str], workspace: Workspace) -> str:
    """`mmadapt …` in this process."""
    workspace.provide(arguments)
    result = workspace.as_user(lambda: CliRunner().invoke(app, shortened(arguments)))
    return _output(result, shlex.join(["mmadapt", *arguments]))


def _output(result: Result, command: str) -> str:
    if result.exit_code:
        said = f"{result.output}{result.exception!r}"
        raise BlockError(f"{command}\nexit code {result.exit_code}: {said}") from result.exception
    return result.stdout


def shortened(arguments: list[str]) -> list[str]:
    """The arguments of a command with what makes it short."""
    kind = "bench --data" if "--data" in arguments else arguments[0]
    extra = shlex.split(SHORTER.get(kind, "")) if "--runs" not in arguments else []
    if kind in ("check", "train", "compare", "bench --data"):
        extra += sorted({word for file in _recipes(arguments) for word in _fewer(file, arguments)})
    return [*arguments, *extra]


def _recipes(arguments: list[str]) -> list[str]:
    return [word for word in arguments if word.endswith((".yaml", ".yml")) and "=" not in word]


def _fewer(file: str, arguments: list[str]) -> Iterator[str]:
    """Overrides that leave a few samples to each split of the built-in world."""
    overrides = [word for word in arguments[1:] if "=" in word and word[0] != "-"]
    allow_code = "--allow-code" in arguments
    resolved = load_and_resolve(file, overrides, allow_code=allow_code)
    yield from (
        f"data.{split}.count={SHAPES}"
        for split, part in resolved.sources.items()
        if part.cls.__name__ == "ShapesSource"
    )
    if resolved.recipe.evaluate.blind:
        yield "evaluate.blind=[removed]"


def start(words: list[str], workspace: Workspace) -> str:
    """Another program, as a process of its own."""
    environment = os.environ | workspace.environment
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=SECONDS)
    if done.returncode:
        raise BlockError(f"{shlex.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def launch(arguments: list[str], workspace: Workspace) -> str:
    """`torchrun … -m mmadapt.cli …`: its options are read by its own parser."""
    options = get_args_parser().parse_args(arguments)
    assert options.module and options.training_script == "mmadapt.cli", arguments
    workspace.provide(options.training_script_args)
    words = [options.training_script, *shortened(options.training_script_args)]
    count, place = int(options.nproc_per_node), Path.cwd()
    processes = ranks(count, *words, changes=workspace.environment, place=place)
    said = [process.communicate(SECONDS) for process in processes]
    if any(process.returncode for process in processes):
        raise BlockError(f"{shlex.join(words)}\n" + "".join(error[-2000:] for _, error in said))
    return "".join(out for out, _ in said)


def run_tests(arguments: list[str], workspace: Workspace) -> str:
    """`pytest` in a package's folder."""
    if not workspace.in_package():
        raise BlockError("would run these tests inside themselves: mark it")
    extra = [] if workspace.in_full else shlex.split(SHORTER["pytest"])
    words = ["pytest", *arguments, *extra]
    tests = Forked(*words, changes=workspace.environment, place=Path.cwd())
    out, told = tests.communicate(SECONDS)
    if tests.returncode:
        raise BlockError(f"{shlex.join(words)}\n{out[-2000:]}{told[-2000:]}")
    return out


def check_script(arguments: list[str], workspace: Workspace) -> None:
    """`python -m tests.…`: a long measurement; its module must exist."""
    if arguments[0] != "-m" or not arguments[1].startswith("tests."):
        raise BlockError(f"no way to run: {shlex.join(['python', *arguments])}")
    module = workspace.repository.joinpath(*arguments[1].split("."))
    if not (module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()):
        raise BlockError(f"no such module: {arguments[1]}")


def install(arguments: list[str], workspace: Workspace) -> None:
    """`pip install`: mmadapt is installed already, its extras must exist; a package is put in."""
    assert arguments[0] == "install", arguments
    for word in arguments[1:]:
        if word.startswith("-"):
            continue
        name, _, extras = word.rstrip("]").partition("[")
        folder = Path.cwd() / name
        project = folder if (folder / "pyproject.toml").is_file() else workspace.repository
        known = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        assert name in (known["name"], ".") or project is folder, f"cannot install {word}"
        missing = set(filter(None, extras.split(","))) - set(known["optional-dependencies"])
        assert not missing, f"{word}: no such extra"
        if known["name"] != "mmadapt":
            workspace.install(folder)


def parse(text: str) -> None:
    """Hold the `mmadapt` commands of a block that is not run against the program's options."""
    program = get_command(app)
    for words in commands(text):
        if words[0] == "mmadapt":
            context = click.Context(program, info_name="mmadapt")
            name, command, rest = program.resolve_command(context, words[1:])
            command.make_context(name, rest, parent=context)
