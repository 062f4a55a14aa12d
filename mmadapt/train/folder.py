"""The folder of a run: begun once, continued with --resume, never overwritten.

What a run leaves that fails before its first checkpoint is no run: the next one takes its place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from mmadapt.data.quarantine import FILE as QUARANTINE
from mmadapt.differences import differences
from mmadapt.errors import MMAdaptError, TrainingError
from mmadapt.files import check_writable, prepare_output, write_text
from mmadapt.lock import FILE as LOCK
from mmadapt.recipe import Recipe, load_recipe
from mmadapt.revisions import revisions
from mmadapt.train.checkpoints import all_checkpoints, begin, is_begun_only, last_checkpoint

RECIPE, METRICS, PREDICTIONS, LOG = "recipe.yaml", "metrics.json", "predictions.jsonl", "log.jsonl"
WRITTEN = (
    "# Written by a training run, whose folder this is.\n"  # tells it from a user's own recipe
)


class RunFolder:
    """Where a run keeps `recipe.yaml`, checkpoints, `log.jsonl`, `adapter/` and its results.

    Args:
        path: the folder.
        recipe: what is trained.
        resume: continue the run that the folder holds.

    Raises:
        MMAdaptError: the folder holds a run and `resume` is off, or holds one of another recipe, or
            cannot be written to.
    """

    def __init__(self, path: Path, recipe: Recipe, resume: bool) -> None:
        self.path, self.recipe = path, recipe
        if not is_main_process():  # the first process checks, creates and writes for all
            return
        check_place(path)
        kept = {LOCK}
        if _is_barely_begun(path):
            _clear(path)
            kept.add(RECIPE)  # until it is written anew
        is_used = path.is_dir() and any(file.name not in kept for file in path.iterdir())
        if is_used and not resume:
            raise MMAdaptError(
                f"{path} holds a run already; continue it with --resume, choose another "
                "--output-dir, or delete the folder"
            )
        if is_used:
            self._check_same()

    def open(self) -> None:
        """Creates the folder and writes the recipe, in the first process."""
        if not is_main_process():
            return
        prepare_output(self.path)
        write_text(self.path / RECIPE, WRITTEN + self.recipe.to_yaml())

    @contextmanager
    def there(self) -> Iterator[None]:
        """Says of an error inside the block that the folder is gone, where that is the cause.

        Raises:
            TrainingError: somebody has removed it, or the disk that it lies on.
        """
        try:
            yield
        except Exception as error:
            if self.path.is_dir():
                raise
            raise TrainingError(
                f"{self.path}: the run folder is gone; bring it back, then go on with --resume"
            ) from error

    @property
    def result(self) -> dict[str, Any] | None:
        """What the finished run reported, predictions included, or None while it is unfinished."""
        try:
            result = json.loads((self.path / METRICS).read_text(encoding="utf-8"))
            file = self.path / PREDICTIONS
            lines = file.read_text(encoding="utf-8").split("\n") if file.exists() else []
            return result | {"predictions": [json.loads(line) for line in lines if line]}
        except (OSError, ValueError):
            return None

    def checkpoint(self, tell: Callable[[str], None] | None = None) -> Path | None:
        """The checkpoint to continue from.

        Args:
            tell: is told of checkpoints that are passed over.

        Raises:
            MMAdaptError: the run's checkpoints were written without what resuming needs.
        """
        return last_checkpoint(self.path, tell) if self.path.is_dir() else None

    def _check_same(self) -> None:
        file = self.path / RECIPE
        try:
            then = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise MMAdaptError(
                f"{self.path} holds no run to resume: its {RECIPE} is missing or damaged; choose "
                "another --output-dir, or delete the folder"
            ) from error
        now = yaml.safe_load(self.recipe.to_yaml())
        if changed := sorted(differences(then, now, "recipe")):
            raise MMAdaptError(
                f"{self.path} holds a run of another recipe: {', '.join(changed[:5])} differ; "
                "resume with the recipe it was started with, choose another --output-dir, or "
                "delete the folder"
            )


def revisions_of_run(path: Path) -> dict[str, str]:
    """The commits that a run began with, by key; none where there is no run."""
    try:
        return {} if _is_barely_begun(path) else revisions(load_recipe(path / RECIPE))
    except MMAdaptError:
        return {}


def check_place(path: Path) -> None:
    """Finds out, without creating anything, whether a run can live there.

    Raises:
        MMAdaptError: it cannot.
    """
    if not is_main_process():
        return
    check_writable(path)
    if path.exists() and not path.is_dir():
        raise MMAdaptError(f"{path} is a file; choose another --output-dir")


def _is_barely_begun(path: Path) -> bool:
    """Whether a folder holds no more than what a run leaves that fails before its first checkpoint.

    A recipe that was not written by a run, any other file, and a checkpoint that was complete once
    are worth keeping.
    """
    if not (path / RECIPE).is_file() or path.is_symlink():
        return False
    begun = {found.name for found in all_checkpoints(path) if is_begun_only(found)}
    known = {RECIPE, LOG, QUARANTINE, LOCK} | begun
    if any(entry.name not in known or entry.is_symlink() for entry in path.iterdir()):
        return False
    try:
        written = (path / RECIPE).read_text(encoding="utf-8")
        return written == WRITTEN + load_recipe(path / RECIPE).to_yaml()
    except (MMAdaptError, OSError, ValueError):
        return False


def _clear(path: Path) -> None:
    """Removes what a barely begun run left, but for its recipe, which the next one overwrites."""
    for checkpoint in all_checkpoints(path):
        begin(checkpoint)
    for name in (LOG, QUARANTINE):
        (path / name).unlink(missing_ok=True)


def is_main_process() -> bool:
    """Whether this is the first process of a launch, or the only one."""
    return os.environ.get("RANK", "0") == "0"
