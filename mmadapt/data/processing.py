"""Running a processor: what it raises speaks of a file, and whether it made random choices."""

from __future__ import annotations

import traceback
from pathlib import Path

import numpy as np
from torch import Tensor

from mmadapt.contracts import Processor
from mmadapt.data.media.convert import MEMORY
from mmadapt.errors import MediaError, MMAdaptError
from mmadapt.types import MediaPart


def read_part(
    processor: Processor, part: MediaPart, rng: np.random.Generator | None
) -> Tensor | tuple[Tensor, Tensor]:
    """What a processor gives; whatever it raises speaks of the file."""
    try:
        return processor(part, rng)
    except MMAdaptError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        reason = f"its processor failed ({type(error).__name__} in {place}: {error})"
        raise MediaError(part.get("path", MEMORY), reason, part["type"]) from error


def drawn(rng: np.random.Generator | None) -> object:
    """What changes when a generator is drawn from."""
    if rng is None:
        return None
    bits = rng.bit_generator
    return bits.state["state"]["state"], getattr(bits.seed_seq, "n_children_spawned", 0)
