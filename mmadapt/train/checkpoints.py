"""Which checkpoint of an interrupted run to continue from."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mmadapt.checkpoint import WEIGHTS, read_tensors
from mmadapt.errors import AdapterError, MMAdaptError

_NAME = re.compile(r"checkpoint-(\d+)")
_STATE = "trainer_state.json"
_NEEDED = (WEIGHTS, "optimizer.pt", "scheduler.pt")


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run.

    A run that was killed while it wrote leaves a torn checkpoint, which is passed over: the trainer
    writes `trainer_state.json` last, so one that can be read means that everything else is there.

    Args:
        folder: of the run.

    Returns:
        The checkpoint, or None where there is no complete one.

    Raises:
        MMAdaptError: there are only such as `save_only_model` writes, so that training could only
            start again.
    """
    found = all_checkpoints(folder)
    for path in found:
        if is_complete(path):
            return path
    for path in found:
        missing = [name for name in _NEEDED if not (path / name).is_file()]
        if (path / _STATE).is_file() and missing:
            raise MMAdaptError(
                f"{path} lacks {missing[0]}, as train.save_only_model writes it, so training "
                "cannot continue from there; delete the run's checkpoints to start it again, or "
                "choose another --output-dir"
            )
    return None


def all_checkpoints(folder: Path) -> list[Path]:
    """Complete and torn ones, the newest first."""
    found = [
        (int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def is_complete(checkpoint: Path) -> bool:
    """Whether everything that resuming needs is there and can be read."""
    try:
        state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        read_tensors(checkpoint / WEIGHTS)
    except (OSError, ValueError, AdapterError):
        return False
    return isinstance(state, dict) and all((checkpoint / name).is_file() for name in _NEEDED)
