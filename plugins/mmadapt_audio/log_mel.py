"""The log-mel spectrogram of Whisper, no longer than the sound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmadapt.contracts import Processor
from mmadapt.types import MediaPart
from mmadapt_audio.config import WhisperConfig
from mmadapt_audio.waveform import SegmentReader


class LogMelProcessor(Processor):
    """Reads a sound and makes the log-mel frames of each segment with Whisper's own extractor.

    The frames are those of the sound followed by silence up to 30 s, as far as `context_seconds` or
    the sound goes, and two more, which the convolutions see behind the last token. `lead_seconds`
    of silence come first.

    Args:
        extractor: a `WhisperFeatureExtractor`.
        max_positions: tokens of 30 s; two frames make a token.
        config: segments, their length, and the context.
    """

    def __init__(self, extractor: Any, max_positions: int, config: WhisperConfig) -> None:
        self.extractor = extractor
        self.max_frames = 2 * max_positions
        self.context_frames = 2 * tokens_of(config.context_seconds, extractor)
        self.lead = lead_of(config)
        step = 2 * extractor.hop_length
        room = (max_positions - self.lead) * step
        length = min(room, round(config.max_seconds * extractor.sampling_rate))
        self.read = SegmentReader(
            extractor.sampling_rate,
            length,
            length,
            extractor.n_fft,
            config.segments,
            config.timeout,
        )

    def __call__(
        self, media: MediaPart, rng: np.random.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Reads a sound.

        Args:
            media: `path`, or `value`; see `SegmentReader`.
            rng: nothing is drawn from it.

        Returns:
            (t, mel bins, frames) float32 of t segments, and (t, frames) bool: the frames of the
            sound, an even number.

        Raises:
            MediaError: it cannot be read, or is too short.
        """
        step = 2 * self.extractor.hop_length
        lead = np.zeros(self.lead * step, np.float32)
        segments = [np.concatenate([lead, waveform]) for waveform in self.read(media)]
        heard = [2 * math.ceil(len(waveform) / step) for waveform in segments]
        frames = min(self.max_frames, max(self.context_frames, *heard) + 2)
        values = torch.stack([self._log_mel(waveform, frames) for waveform in segments])
        place = torch.arange(frames)
        return values, (place >= 2 * self.lead) & (place < torch.tensor(heard)[:, None])

    def _log_mel(self, waveform: np.ndarray, frames: int) -> Tensor:
        """(mel bins, frames) of a waveform followed by silence."""
        # One window more than is kept, as the transform mirrors the end, which must be silence;
        # at 30 s it mirrors the sound in the published encoding, too.
        margin = 0 if frames == self.max_frames else self.extractor.n_fft
        found = self.extractor(
            waveform,
            sampling_rate=self.extractor.sampling_rate,
            max_length=frames * self.extractor.hop_length + margin,
            return_tensors="pt",
        )
        log_mel: Tensor = found.input_features[0, :, :frames]
        return log_mel.contiguous()


def tokens_of(seconds: float, extractor: Any) -> int:
    """Tokens of so much sound, a beginning one counted; two frames make a token."""
    return math.ceil(round(seconds * extractor.sampling_rate) / (2 * extractor.hop_length))


def lead_of(config: WhisperConfig) -> int:
    """Tokens of the silence before a sound, at 50 a second."""
    return round(50 * config.lead_seconds)
