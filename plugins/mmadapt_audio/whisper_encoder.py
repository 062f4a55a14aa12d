"""`whisper`: speech through the encoder of Whisper (Radford et al., arXiv 2212.04356).

Whisper is trained on sounds followed by silence up to 30 s, and its attention sees that silence
among its 1500 positions; `context_seconds: 30`, the default, is this published encoding to the bit.
Less costs less: a sound of n tokens (50 a second) then enters with the first positional embeddings
alone, as many as the context or the sound has, whichever is longer, and no token attends to what
lies beyond. The convolutions see the same frames of the sound as in the published encoding, so
what enters the first block is the published to rounding; every later level differs by the attention
to silence that is missing. Of silence itself, before or behind the sound, no token is returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.whisper.modeling_whisper import WhisperEncoder as HFWhisperEncoder

from mmadapt.contracts.fusion import EncoderInfo
from mmadapt.encoding import load_tower, only_real, run_levels
from mmadapt.types import Features, LevelSpec, MediaInputs
from mmadapt_audio.base import AudioEncoder
from mmadapt_audio.config import WhisperConfig
from mmadapt_audio.log_mel import LogMelProcessor, lead_of, tokens_of
from mmadapt_audio.tower import TowerSpec


class WhisperEncoder(AudioEncoder):
    """A sound through Whisper's encoder; an item is a segment of `max_seconds`.

    There is no CLS; tokens stand in the order of time, and `Features.mask` is False at those after
    the sound's end, whose values are 0. Raw levels are what the blocks return; final-normed ones
    have passed the model's last LayerNorm.

    Example:
        >>> config = WhisperConfig(model="openai/whisper-tiny.en", max_seconds=2)
        >>> encoder = WhisperEncoder(config)  # doctest: +SKIP
        >>> encoder.num_levels, encoder.hidden_size  # doctest: +SKIP
        (4, 384)
    """

    Config: ClassVar[type[BaseModel]] = WhisperConfig
    model_type: ClassVar[str] = "whisper"
    config: WhisperConfig

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        positions = self.spec.config.max_source_positions
        self.max_tokens = _max_tokens(config, self.spec)
        self.lead = lead_of(config)
        self.context = min(positions, tokens_of(config.context_seconds, self.spec.extractor))
        self.processor = LogMelProcessor(self.spec.extractor, positions, config)

    @classmethod
    def describe(cls, config: WhisperConfig, spec: TowerSpec) -> EncoderInfo:
        """Sizes of the tokens of one sound."""
        hf = spec.config
        grid = None if config.padding == "batch" else (1, _max_tokens(config, spec))
        return EncoderInfo(cls.modality, hf.d_model, hf.encoder_layers, config.segments, 0, grid)

    @classmethod
    def load(cls, config: WhisperConfig, spec: TowerSpec) -> PreTrainedModel:
        """The encoder without the decoder, out of any checkpoint of Whisper."""
        names = {r"^(?:model\.)?encoder\.": ""}
        return load_tower(HFWhisperEncoder, config, spec.config, key_mapping=names)

    def forward(self, inputs: MediaInputs, levels: Sequence[LevelSpec]) -> Features:
        """Encodes `inputs.values` (b, t, mel bins, frames), with `inputs.mask` (b, t, frames).

        Raises:
            ModelError: a level that the model does not have.
        """
        item = inputs["item"]
        heard = inputs["mask"][..., ::2] & (item >= 0)[..., None]  # two frames make a token
        attended = heard.clone()
        attended[..., : max(1, self.lead, self.context)] = True
        rows, spread = only_real(inputs["values"].to(self.model.dtype), item)
        row_attended, _ = only_real(attended, item)
        count = int(heard.flatten(0, 1).any(dim=0).sum())
        if self.config.padding == "max_seconds":
            count = self.max_tokens
        norm = self.model.layer_norm
        assert isinstance(norm, nn.Module)
        found = run_levels(lambda: self._run(rows, row_attended), list(self.blocks), norm, levels)
        mask = self._fit(heard[..., None], count)[..., 0]
        tokens = tuple(
            self._fit(spread(level), count).masked_fill(~mask[..., None], 0) for level in found
        )
        return Features(tokens, mask, item, 0, self.grid)

    def _run(self, rows: Tensor, attended: Tensor) -> None:
        """Runs the blocks on (r, mel bins, frames), of whose tokens (r, n) some are attended to."""
        model: Any = self.model
        gelu = nn.functional.gelu
        x = gelu(model.conv2(gelu(model.conv1(rows)))).transpose(1, 2)
        length = int(attended.any(dim=0).sum())
        x = x[:, :length] + model.embed_positions.weight[:length]
        attended, mask = attended[:, :length], None
        if not bool(attended.all()):
            mask = create_bidirectional_mask(
                config=model.config, inputs_embeds=x, attention_mask=attended.long()
            )
        for block in self.blocks:
            x = block(x, mask)

    def _fit(self, tokens: Tensor, count: int) -> Tensor:
        """(b, t, n, e) without the lead, cut or padded with zeros to n = `count`."""
        tokens = tokens[:, :, self.lead : self.lead + count]
        return nn.functional.pad(tokens, (0, 0, 0, count - tokens.shape[2]))

    def fingerprint_config(self) -> dict[str, Any]:
        """What must be equal for an adapter to fit: the architecture and what it is fed."""
        extractor = self.spec.extractor
        fed = {
            "max_seconds": self.config.max_seconds,
            "context": self.context,
            "lead": self.lead,
            "sampling_rate": extractor.sampling_rate,
            "mel_bins": extractor.feature_size,
            "hop_length": extractor.hop_length,
            "n_fft": extractor.n_fft,
        }
        return {**super().fingerprint_config(), "log_mel": fed}


def _max_tokens(config: WhisperConfig, spec: TowerSpec) -> int:
    """Tokens of a segment of `max_seconds`."""
    positions: int = spec.config.max_source_positions
    return min(positions - lead_of(config), tokens_of(config.max_seconds, spec.extractor))
