"""Every error a user can cause: one sentence that says where, what, and what to do next."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from mmadapt.redact import redacted

DEBUG_VARIABLE = "MMADAPT_DEBUG"  # set, the command line shows tracebacks
_LONGEST_WORD = 200  # that is compared with others
_LONGEST_REASON = 1000


class MMAdaptError(Exception):
    """A mistake that a person can act on; the command line prints it and exits with 2.

    Args are the constructor's own, so that every subclass survives pickling (loader workers).

    Example:
        >>> str(MMAdaptError("runs/a holds a run already; continue it with --resume"))
        'runs/a holds a run already; continue it with --resume'
    """

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One finding in a recipe, with the place where its text was written.

    Args:
        file: The recipe file, `override 'key=value'`, or `recipe` for a dictionary.
        line: 1-based line, 0 when there is none (an override, a dictionary).
        column: 1-based column, 0 when there is none.
        key: Dotted path of the value, e.g. `fusion.alpha`; empty for the whole document.
        message: What is wrong, what was expected.
        hint: What to do next, e.g. `did you mean 'alpha'?`; may be empty.
    """

    file: str
    line: int
    column: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        file = _cut(self.file, 300)
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        head = f"{place}: {_cut(self.key, 200)}: " if self.key else f"{place}: "
        return head + _cut(self.message, 2000) + (f"; {self.hint}" if self.hint else "")


class RecipeError(MMAdaptError):
    """Everything that is wrong with a recipe, one line per problem.

    Args:
        problems: The findings, or a message for a mistake that has no place.
    """

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem("recipe", 0, 0, "", problems)]
        self.problems: list[Problem] = list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class PluginError(MMAdaptError):
    """A plugin or a registered name that is unknown, broken, or claimed twice."""


class MissingDependency(MMAdaptError):
    """An optional Python package that is needed now and is not installed.

    Args:
        purpose: What needs it, e.g. `reading video`.
        module: The import name of the missing package.
        install: What to hand to pip, e.g. `mmadapt[video]`; default: the module's name.
    """

    def __init__(self, purpose: str, module: str = "", install: str = "") -> None:
        self.purpose, self.module, self.install = purpose, module, install or module
        super().__init__(purpose, module, install)

    def __str__(self) -> str:
        if not self.module:
            return self.purpose
        return (
            f"{self.purpose} needs the package '{self.module}', which is not installed: "
            f"pip install '{self.install}'"
        )


class AttachError(MMAdaptError):
    """A fusion cannot be attached to this language model."""


class ModelError(MMAdaptError):
    """A base model, its tokenizer or its processor cannot be loaded."""


class AdapterError(MMAdaptError):
    """An adapter folder cannot be written, read, or does not fit its base models."""


class MediaError(MMAdaptError):
    """A picture, clip or sound that cannot be read.

    A loader worker's error reaches the main process as one text (its traceback); given such a text
    alone, the error finds its file and reason again.

    Args:
        path: The file.
        reason: Why, in a few words.
        kind: What was wanted of it: `image`, `video` or `audio`; may be empty.
        advice: What to do next, one sentence; may be empty.

    Example:
        >>> str(MediaError("a.mp4", "the file is empty", "video", "Fetch it again."))
        'a.mp4: cannot read video: the file is empty. Fetch it again.'
    """

    _REPORT = re.compile(
        r"\n[\w.]*MediaError: (?P<path>.+?): cannot read (?P<kind>image|video|audio): "
        r"(?P<reason>.+?)(?:\. (?P<advice>[A-Z].*))?\s*\Z"
    )

    def __init__(
        self, path: str | os.PathLike[str], reason: str = "", kind: str = "", advice: str = ""
    ) -> None:
        report = None if reason else self._REPORT.search(str(path))
        if report:
            path, kind, reason, advice = (
                report[name] or "" for name in ("path", "kind", "reason", "advice")
            )
        self.path, self.reason, self.kind, self.advice = path, reason, kind, advice
        super().__init__(path, reason, kind, advice)

    def __str__(self) -> str:
        if not self.reason:
            return str(self.path)
        wanted = f"cannot read {self.kind}: " if self.kind else ""
        text = redacted(f"{self.path}: {wanted}{self.reason}")
        return f"{text}. {self.advice}" if self.advice else text


class DataError(MMAdaptError):
    """A data file or one of its records that cannot be used.

    Args:
        file: The data file or folder.
        record: Line number or id of the record; None for the file as a whole.
        reason: Why, in a few words.
    """

    def __init__(self, file: str | Path, record: str | int | None = None, reason: str = "") -> None:
        self.file, self.record, self.reason = file, record, reason
        super().__init__(file, record, reason)

    def __str__(self) -> str:
        place = str(self.file) if self.record is None else f"{self.file}:{self.record}"
        reason = self.reason
        if len(reason) > _LONGEST_REASON:  # it may quote what a damaged file says
            reason = f"{reason[:_LONGEST_REASON]} …"
        return redacted(f"{place}: {reason}" if reason else place)


class TrainingError(MMAdaptError):
    """Training cannot go on: the loss is no number, memory or disk does not suffice, and so on."""


class Stopped(MMAdaptError):
    """A signal asked the run to stop, and it did, with everything that resuming needs.

    The exit code is the system's for a failure that passes (EX_TEMPFAIL): start it again.

    Args:
        signal_name: e.g. `SIGTERM`.
        place: what had been done by then; may be empty.
    """

    exit_code = 75

    def __init__(self, signal_name: str, place: str = "") -> None:
        self.signal_name, self.place = signal_name, place
        super().__init__(signal_name, place)

    def __str__(self) -> str:
        place = f" {self.place}" if self.place else ""
        return f"stopped by {self.signal_name}{place}; continue with --resume"


def _cut(text: str, limit: int) -> str:
    """A text whose middle is left out where it is too long to be read."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the nearest known word, or nothing where none is near.

    Example:
        >>> did_you_mean("amed", ["adem", "epalm"])
        "did you mean 'adem'?"
    """

    def likeness(other: str) -> float:
        a, b = word.lower(), other.lower()
        letters = SequenceMatcher(None, sorted(a), sorted(b)).ratio()  # swapped letters
        return max(SequenceMatcher(None, a, b).ratio(), 0.9 * letters)

    if len(word) > _LONGEST_WORD:  # comparing takes the square of it
        return ""
    near = max(known, key=likeness, default="")
    return f"did you mean '{near}'?" if near and likeness(near) >= 0.66 else ""
