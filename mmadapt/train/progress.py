"""What a checkpoint holds beside weights, optimiser and chance: how far the run has come."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmadapt.data.items import Mark
from mmadapt.errors import MMAdaptError
from mmadapt.files import write_json

FILE = "progress.json"


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Args:
        step: optimiser steps that are done.
        loss: sum of the losses since the last log record, as the processes' mean.
        logged_loss: sum of those before it.
        logged_step: step of that record.
        marks: how far a stream was read, for each of its parts.
        met: files and samples that could not be used, by split and kind.
        bad: index, id and reason of training samples that could not be read.
    """

    step: int = 0
    loss: float = 0.0
    logged_loss: float = 0.0
    logged_step: int = 0
    marks: tuple[Mark, ...] = ()
    met: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    bad: list[tuple[int, str, str]] = field(default_factory=list)

    def write(self, checkpoint: Path) -> None:
        """Writes it into a checkpoint.

        Raises:
            MMAdaptError: that cannot be done.
        """
        write_json(checkpoint / FILE, asdict(self))

    @classmethod
    def read(cls, checkpoint: Path) -> Progress:
        """What a checkpoint says.

        Raises:
            MMAdaptError: it says nothing, or something else.
        """
        try:
            values: dict[str, Any] = json.loads((checkpoint / FILE).read_text(encoding="utf-8"))
            marks = tuple(Mark(**mark) for mark in values.pop("marks"))
            bad = [(int(index), str(name), str(why)) for index, name, why in values.pop("bad")]
            return cls(**values, marks=marks, bad=bad)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise MMAdaptError(f"{checkpoint / FILE} cannot be read: {error}") from error
