"""The log-mel spectrogram of the audio spectrogram transformer, and SpecAugment on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchaudio.compliance import kaldi

from mmadapt.contracts import Processor
from mmadapt.types import MediaPart
from mmadapt_audio.config import AstConfig
from mmadapt_audio.waveform import SegmentReader

WINDOW, SHIFT = 0.025, 0.010  # seconds; Kaldi's own


@dataclass(frozen=True)
class FbankRule:
    """How a waveform becomes a spectrogram.

    Args:
        sampling_rate: samples per second.
        num_mel_bins: height of the spectrogram.
        max_length: its frames; shorter sounds are padded with zeros, longer ones are cut.
        mean: of the normalisation.
        std: values are divided by twice this, as Gong et al. (AST, arXiv 2104.01778) do.
    """

    sampling_rate: int
    num_mel_bins: int
    max_length: int
    mean: float
    std: float

    def fbank(self, waveform: np.ndarray) -> Tensor:
        """Kaldi's log-mel filter banks of (samples,), padded or cut: (max_length, num_mel_bins)."""
        found = kaldi.fbank(
            torch.from_numpy(waveform)[None],
            sample_frequency=float(self.sampling_rate),
            window_type="hanning",
            num_mel_bins=self.num_mel_bins,
        )[: self.max_length]
        return torch.nn.functional.pad(found, (0, 0, 0, self.max_length - len(found)))

    def normalize(self, fbank: Tensor) -> Tensor:
        """Normalises, padding included, as the authors do."""
        return (fbank - self.mean) / (2 * self.std)


class FbankProcessor(Processor):
    """Reads a sound and makes the spectrogram of each segment.

    Equal to transformers' `ASTFeatureExtractor` on the same waveform. The authors' waveform is
    freed of its mean first, which changes nothing here: Kaldi frees every window of its own.

    Args:
        rule: how the spectrogram is made.
        config: segments, and the widths of SpecAugment's masks.
    """

    def __init__(self, rule: FbankRule, config: AstConfig) -> None:
        self.rule = rule
        self.frequency_mask, self.time_mask = config.frequency_mask, config.time_mask
        rate = rule.sampling_rate
        window, shift = int(rate * WINDOW), int(rate * SHIFT)
        step = rule.max_length * shift
        self.read = SegmentReader(
            rate, step, step + window - shift, window, config.segments, config.timeout
        )

    def __call__(self, media: MediaPart, rng: np.random.Generator | None = None) -> Tensor:
        """Reads a sound.

        Args:
            media: `path`, or `value`; see `SegmentReader`.
            rng: the sample's generator for SpecAugment; None gives the whole spectrogram.

        Returns:
            (t, max_length, num_mel_bins) float32, normalised; t segments.

        Raises:
            MediaError: it cannot be read, or is too short.
        """
        rows = []
        for waveform in self.read(media):
            fbank = self.rule.fbank(waveform)
            if rng is not None:  # before the normalisation, as in eP-ALM's code
                fbank = mask_band(fbank, 1, self.frequency_mask, rng)
                fbank = mask_band(fbank, 0, self.time_mask, rng)
            rows.append(self.rule.normalize(fbank))
        return torch.stack(rows)


def mask_band(values: Tensor, dim: int, widest: int, rng: np.random.Generator) -> Tensor:
    """Sets a random band to 0 (SpecAugment, arXiv 1904.08779, section 2).

    Args:
        values: any tensor.
        dim: the dimension that the band is a part of.
        widest: the band's width is drawn below this; 0 leaves everything.
        rng: what is drawn from.
    """
    if widest == 0:
        return values
    size = values.shape[dim]
    width = min(int(rng.random() * widest), size)
    start = int(rng.random() * (size - width))
    hidden = torch.zeros(size, dtype=torch.bool)
    hidden[start : start + width] = True
    return values.index_fill(dim, hidden.nonzero().squeeze(1), 0.0)
