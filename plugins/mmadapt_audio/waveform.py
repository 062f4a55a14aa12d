"""From a sound file to the segments that an encoder hears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmadapt.data.media import as_waveform, read_audio
from mmadapt.data.media.convert import MEMORY
from mmadapt.errors import MediaError
from mmadapt.types import MediaPart

_MARGIN = 0.05  # seconds read beyond the end, so that resampling does not see the cut


@dataclass(frozen=True)
class SegmentReader:
    """Reads a sound at one rate, channels averaged, and cuts it into consecutive segments.

    Args:
        sampling_rate: samples per second.
        step: samples from the beginning of one segment to that of the next.
        length: samples of a segment; may exceed `step`, where the analysis looks a little further.
        shortest: samples that a sound must have; a rest that is shorter makes no segment.
        segments: at most so many.
        timeout: seconds that reading may take.
    """

    sampling_rate: int
    step: int
    length: int
    shortest: int
    segments: int = 1
    timeout: float = 60.0

    def __call__(self, media: MediaPart) -> list[np.ndarray]:
        """Reads one media part.

        Args:
            media: `path` with, if wanted, `start` and `end` in seconds, or `value`: see
                `as_waveform`.

        Returns:
            One to `segments` arrays, float32, each (up to `length`,).

        Raises:
            MediaError: it cannot be read, or is too short; names the file.
        """
        waveform = self._read(media)
        if len(waveform) < self.shortest:
            rate = self.sampling_rate
            reason = (
                f"it lasts {len(waveform) / rate:.3f} s, and this encoder needs at least "
                f"{self.shortest / rate:.3f} s"
            )
            advice = "Leave it out of the data, or correct start and end."
            raise MediaError(media.get("path", MEMORY), reason, "audio", advice)
        starts = range(0, len(waveform) - self.shortest + 1, self.step)
        return [waveform[start : start + self.length] for start in starts[: self.segments]]

    def _read(self, media: MediaPart) -> np.ndarray:
        if "value" in media:
            return as_waveform(media["value"], self.sampling_rate)
        samples = (self.segments - 1) * self.step + self.length
        return read_audio(
            media["path"],
            sampling_rate=self.sampling_rate,
            start=media.get("start"),
            end=media.get("end"),
            max_seconds=samples / self.sampling_rate + _MARGIN,
            timeout=self.timeout,
        )
