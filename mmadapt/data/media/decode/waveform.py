"""What both sound decoders share: which samples are wanted, whether they fit, whether they came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmadapt.data.media.decode.errors import Unreadable
from mmadapt.data.media.limits import MAX_AUDIO_SECONDS, MAX_CLIP_BYTES


@dataclass(frozen=True)
class Part:
    """The wanted part of a sound file.

    Args:
        start: Seconds.
        end: Seconds, None for the file's own end.
        mono: Whether channels are averaged into one.
    """

    start: float
    end: float | None
    mono: bool

    def seconds(self, duration: float) -> float:
        """How long the part is in a file of this duration; 0 if the file ends before it."""
        end = duration if self.end is None else min(self.end, duration)
        return max(0.0, end - self.start)

    def mix(self, block: np.ndarray) -> np.ndarray:
        """A block (channels, n) as wanted: (1, n) for mono, else unchanged."""
        return block.mean(axis=0, keepdims=True, dtype=np.float32) if self.mono else block


def check_length(seconds: float, values: float) -> None:
    """Refuses more sound than one read may return.

    Args:
        seconds: Of the wanted part.
        values: Samples of it, all channels that are kept.

    Raises:
        Unreadable: it is too long, or has too many channels for its length.
    """
    if seconds > MAX_AUDIO_SECONDS or 4 * values > MAX_CLIP_BYTES:
        raise Unreadable(
            f"the wanted part lasts {seconds:.0f} s; one read returns at most "
            f"{MAX_AUDIO_SECONDS:.0f} s and {MAX_CLIP_BYTES // 2**20} MiB",
            "Ask for less of it with start and end, or max_seconds.",
        )


def check_complete(announced: float, actual: float, start: float) -> None:
    """Refuses a file that holds clearly less sound than it announces.

    Args:
        announced: Seconds that the wanted part should have.
        actual: Seconds that could be decoded.
        start: Where the part starts.

    Raises:
        Unreadable: more than half a second and 5 % are missing.
    """
    if actual < announced - max(0.5, 0.05 * announced):
        raise Unreadable(
            f"its data end at {start + actual:.2f} s of the {start + announced:.2f} s that it "
            "announces; it is cut short or damaged",
            f"Fetch it again, or read what there is with end={start + actual:.2f}.",
        )
