"""Which checkpoint of an interrupted run to continue from."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mmadapt.checkpoint import WEIGHTS, read_tensors
from mmadapt.errors import AdapterError

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
    """
    found = [
        (int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
    ]
    for _, path in sorted(found, reverse=True):
        if is_complete(path):
            return path
    return None


def is_complete(checkpoint: Path) -> bool:
    """Whether everything that resuming needs is there and can be read."""
    try:
        state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        read_tensors(checkpoint / WEIGHTS)
    except (OSError, ValueError, AdapterError):
        return False
    return isinstance(state, dict) and all((checkpoint / name).is_file() for name in _NEEDED)
