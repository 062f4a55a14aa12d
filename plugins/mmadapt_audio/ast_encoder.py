"""`ast`: sounds through an audio spectrogram transformer (Gong et al., arXiv 2104.01778).

As in the published eP-ALM (arXiv 2303.11403), a sound is its first 10.24 s, shorter ones are padded
with zeros before the normalisation, and padding is seen like sound: no token is masked. Departures
from eP-ALM's code: a file is resampled to the model's rate, where eP-ALM reads it at its own;
channels are averaged, where eP-ALM takes the first; SpecAugment is off unless `frequency_mask: 24`
and `time_mask: 96` are given, with `data.augment: true`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from pydantic import BaseModel
from torch import nn
from transformers import ASTModel, PreTrainedModel

from mmadapt.contracts.fusion import EncoderInfo
from mmadapt.encoding import load_tower, only_real, run_levels, token_mask
from mmadapt.errors import ModelError
from mmadapt.types import Features, LevelSpec, MediaInputs
from mmadapt_audio.base import AudioEncoder
from mmadapt_audio.config import AstConfig
from mmadapt_audio.spectrogram import FbankProcessor, FbankRule
from mmadapt_audio.tower import TowerSpec


class AstEncoder(AudioEncoder):
    """A sound through an audio spectrogram transformer; an item is a segment of 10.24 s.

    CLS and distillation token come first; the other tokens are patches of the spectrogram, their
    grid (frequency, time), low frequencies first. Raw levels are what the blocks return;
    final-normed ones have passed the model's last LayerNorm.

    Example:
        >>> config = AstConfig(model="MIT/ast-finetuned-audioset-10-10-0.4593")
        >>> encoder = AstEncoder(config)  # doctest: +SKIP
        >>> encoder.grid, encoder.num_prefix_tokens  # doctest: +SKIP
        ((12, 101), 2)
    """

    Config: ClassVar[type[BaseModel]] = AstConfig
    model_type: ClassVar[str] = "audio-spectrogram-transformer"
    items_at_once = 8
    config: AstConfig

    def __init__(self, config: AstConfig) -> None:
        super().__init__(config)
        self.rule = fbank_rule(config, self.spec)
        self.processor = FbankProcessor(self.rule, config)

    @classmethod
    def describe(cls, config: AstConfig, spec: TowerSpec) -> EncoderInfo:
        """Sizes of the tokens of one sound."""
        hf = spec.config
        fbank_rule(config, spec)
        grid = (
            (hf.num_mel_bins - hf.patch_size) // hf.frequency_stride + 1,
            (hf.max_length - hf.patch_size) // hf.time_stride + 1,
        )
        return EncoderInfo(
            cls.modality, hf.hidden_size, hf.num_hidden_layers, config.segments, 2, grid
        )

    @classmethod
    def load(cls, config: AstConfig, spec: TowerSpec) -> PreTrainedModel:
        """The transformer without a classifier."""
        return load_tower(ASTModel, config, spec.config)

    def forward(self, inputs: MediaInputs, levels: Sequence[LevelSpec]) -> Features:
        """Encodes `inputs.values` (b, t, frames, bins), spectrograms as the processor gives them.

        Raises:
            ModelError: a level that the model does not have.
        """
        item = inputs["item"]
        rows, spread = only_real(inputs["values"].to(self.model.dtype), item)
        norm = self.model.layernorm
        assert isinstance(norm, nn.Module)
        found = run_levels(lambda: self.model(rows), list(self.blocks), norm, levels)
        tokens = tuple(spread(level) for level in found)
        height, width = self.grid or (0, 0)
        mask = token_mask(item, self.num_prefix_tokens + height * width)
        return Features(tokens, mask, item, self.num_prefix_tokens, self.grid)

    def fingerprint_config(self) -> dict[str, Any]:
        """What must be equal for an adapter to fit: the architecture and what it is fed."""
        return {**super().fingerprint_config(), "fbank": asdict(self.rule)}


def fbank_rule(config: AstConfig, spec: TowerSpec) -> FbankRule:
    """The rule of the model's own feature extractor, with a recipe's wishes.

    Raises:
        ModelError: the extractor makes spectrograms of another size than the model reads.
    """
    extractor, hf = spec.extractor, spec.config
    made = (extractor.max_length, extractor.num_mel_bins)
    if made != (hf.max_length, hf.num_mel_bins):
        raise ModelError(
            f"model {config.model} reads {hf.max_length} frames of {hf.num_mel_bins} mel bins, but "
            f"its preprocessor_config.json makes {made[0]} of {made[1]}; correct one of the two"
        )
    mean, std = (extractor.mean, extractor.std) if extractor.do_normalize else (0.0, 0.5)
    return FbankRule(
        sampling_rate=extractor.sampling_rate,
        num_mel_bins=extractor.num_mel_bins,
        max_length=extractor.max_length,
        mean=mean if config.mean is None else config.mean,
        std=std if config.std is None else config.std,
    )
