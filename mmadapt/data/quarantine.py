"""The files that a run could not read: each named once, the run going on until too many are."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmadapt.data.items import Failed
from mmadapt.errors import DataError, MMAdaptError
from mmadapt.redact import redacted

FILE = "quarantine.jsonl"
_NAMED = 3  # bad files that the error names


class Quarantine:
    """The bad files of a run, and how many samples of each split were left out or cut.

    A file is written when it is first met: `id` of the sample, `file`, `reason`, `split`, `step`
    and `epoch` of the training (null before it).

    Args:
        path: the file to write; None writes none.
        max_bad_share: share of a split's samples that may be unreadable, 0 to 1.

    Attributes:
        step: of the training, for the records.
        epoch: likewise.
    """

    def __init__(self, path: Path | None = None, max_bad_share: float = 0.0) -> None:
        self.path, self.max_bad_share = path, max_bad_share
        self.step: int | None = None
        self.epoch: float | None = None
        self._named: set[str] = set()
        self._met: dict[str, dict[str, set[str]]] = {}

    def counts(self) -> dict[str, dict[str, int]]:
        """By split: `unreadable_files`, samples `too_long` and left out, samples `truncated`."""
        names = {"unreadable_files": "unreadable", "too_long": "too_long", "truncated": "truncated"}
        return {
            split: {name: len(met.get(kind, ())) for name, kind in names.items()}
            for split, met in self._met.items()
        }

    def state(self) -> dict[str, dict[str, list[str]]]:
        """What was met, by split and kind, as plain data."""
        return {
            split: {kind: sorted(names) for kind, names in met.items()}
            for split, met in self._met.items()
        }

    def restore(self, state: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Counts what a run met before it was resumed."""
        for split, met in state.items():
            for kind, names in met.items():
                self._met.setdefault(split, {}).setdefault(kind, set()).update(names)

    def summary(self) -> list[str]:
        """A line for each split of which not every sample was used as it is."""
        kinds = {
            "unreadable": "files that cannot be read",
            "too_long": "samples too long and left out",
            "truncated": "prompts cut",
        }
        lines = []
        for split, met in self._met.items():
            said = [f"{len(met[kind])} {what}" for kind, what in kinds.items() if met.get(kind)]
            if said:
                lines.append(f"data.{split}: {', '.join(said)}")
        return lines

    def watch(self, split: str, total: int, readers: int = 1) -> Watch:
        """What one pass over a split hands its failures to."""
        self._met.setdefault(split, {})
        return Watch(self, split, total, readers)

    def note(self, split: str, failure: Failed) -> None:
        """Counts a failure, and names its file if nobody has yet."""
        is_bad = failure.kind == "unreadable"
        file = redacted(str(getattr(failure.error, "path", failure.id)))
        what = file if is_bad else failure.id
        met = self._met.setdefault(split, {}).setdefault(failure.kind, set())
        if is_bad:
            self._name(split, what, failure)
        elif not met:
            text = f"{failure.error}; further ones are counted in metrics.json"
            tqdm.write(f"data.{split}: {text}", file=sys.stderr)
        met.add(what)

    def _name(self, split: str, file: str, failure: Failed) -> None:
        error: Any = failure.error
        if self.path is not None:
            self._named |= _files_in(self.path)  # of the run that is resumed, or another process
        if file in self._named:
            return
        self._named.add(file)
        tqdm.write(f"skipped {failure.id}: {failure.error}", file=sys.stderr)
        if self.path is None:
            return
        record = {
            "id": failure.id,
            "file": file,
            "reason": redacted(getattr(error, "reason", "") or str(error)),
            "split": split,
            "step": self.step,
            "epoch": self.epoch,
        }
        text = json.dumps(record, ensure_ascii=False) + "\n"
        try:
            with self.path.open("ab+") as stream:
                if stream.tell() and not self.path.read_bytes().endswith(b"\n"):
                    text = "\n" + text  # a killed run left half a line
                stream.write(text.encode())
        except OSError as reason:
            raise MMAdaptError(f"{self.path}: cannot be written: {reason.strerror}") from reason


class Watch:
    """The failures of one pass over a split, which ends where they are too many.

    Args:
        quarantine: where they are named.
        split: of the recipe's data.
        total: samples of the pass.
        readers: processes that share the pass, each of which sees its own bad files.

    Attributes:
        is_bounded: whether too many end the pass.
    """

    def __init__(self, quarantine: Quarantine, split: str, total: int, readers: int = 1) -> None:
        self.quarantine, self.split, self.total, self.readers = quarantine, split, total, readers
        self.is_bounded = True
        self.bad: dict[int, Failed] = {}
        self._seen: set[tuple[int, str]] = set()

    def add(self, failures: Iterable[Failed]) -> None:
        """Takes note of failures, new and known ones.

        Raises:
            DataError: more samples cannot be read than are tolerated, or one is wrong otherwise.
        """
        for failure in failures:
            if failure.kind == "wrong":
                raise failure.error
            if (failure.index, failure.kind) in self._seen:
                continue
            self._seen.add((failure.index, failure.kind))
            self.quarantine.note(self.split, failure)
            if failure.kind == "unreadable":
                self.bad[failure.index] = failure
                self._check()

    def state(self) -> list[tuple[int, str, str]]:
        """Index, id and reason of the samples that could not be read."""
        return [(index, failed.id, str(failed.error)) for index, failed in self.bad.items()]

    def restore(self, state: Iterable[tuple[int, str, str]]) -> None:
        """Counts those of a run before it was resumed."""
        for index, name, reason in state:
            self._seen.add((index, "unreadable"))
            self.bad[index] = Failed(index, name, MMAdaptError(reason), "unreadable")

    def _check(self) -> None:
        share = self.quarantine.max_bad_share
        if not self.is_bounded or len(self.bad) <= share * self.total / self.readers:
            return
        first = "; ".join(str(failure.error) for failure in list(self.bad.values())[:_NAMED])
        path = self.quarantine.path
        where = f" All of them: {path}." if path is not None else ""
        raise DataError(
            f"data.{self.split}",
            None,
            f"{len(self.bad)} of {self.total} samples cannot be read, more than "
            f"data.max_bad_share={share:g} tolerates: {_sentence(first)}{where} Mend or remove "
            "them, or raise data.max_bad_share",
        )


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _files_in(path: Path) -> set[str]:
    """The files that a quarantine names already; a half line of a killed run is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return set()
    files = set()
    for line in lines:
        try:
            files.add(str(json.loads(line)["file"]))
        except (ValueError, KeyError, TypeError):
            continue
    return files
