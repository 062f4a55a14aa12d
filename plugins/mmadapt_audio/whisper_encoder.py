"""`whisper`: speech through the encoder of Whisper (Radford et al., arXiv 2212.04356).

Whisper is trained on sounds followed by silence up to 30 s, and its attention sees that silence
among its 1500 positions. With `padding: batch` or `max_seconds` this encoder does not compute it: a
sound of n tokens (50 a second) enters with the first n positional embeddings, its tokens attend to
one another alone, and the convolutions see the same frames as in the published encoding. So the
embeddings below the first block are the published ones to rounding, and every later level differs
by the attention to silence that is missing. `padding: 30s` is the published encoding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.whisper.modeling_whisper import WhisperEncoder as HFWhisperEncoder

from mmadapt.contracts.fusion import EncoderInfo
from mmadapt.types import Features, LevelSpec, MediaInputs
from mmadapt_audio.base import AudioEncoder
from mmadapt_audio.config import WhisperConfig
from mmadapt_audio.log_mel import LogMelProcessor
from mmadapt_audio.tower import TowerSpec, load_tower
from mmadapt_vision.base import only_real
from mmadapt_vision.levels import run_levels


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
        return load_tower(HFWhisperEncoder, config, spec, key_mapping=names)

    def forward(self, inputs: MediaInputs, levels: Sequence[LevelSpec]) -> Features:
        """Encodes `inputs.values` (b, t, mel bins, frames), with `inputs.mask` (b, t, frames).

        Raises:
            ModelError: a level that the model does not have.
        """
        item = inputs["item"]
        heard = inputs["mask"][..., ::2] & (item >= 0)[..., None]
        longest = max(1, int(heard.flatten(0, 1).any(dim=0).sum()))
        count = longest if self.config.padding == "batch" else self.max_tokens
        rows, spread = only_real(inputs["values"].to(self.model.dtype), item)
        row_heard, _ = only_real(heard, item)
        norm = self.model.layer_norm
        assert isinstance(norm, nn.Module)
        found = run_levels(
            lambda: self._run(rows, row_heard[:, :longest]), list(self.blocks), norm, levels
        )
        mask = _fit(heard[..., None], count)[..., 0]
        tokens = tuple(
            _fit(spread(level), count).masked_fill(~mask[..., None], 0) for level in found
        )
        return Features(tokens, mask, item, 0, self.grid)

    def _run(self, rows: Tensor, heard: Tensor) -> None:
        """Runs the blocks on (r, mel bins, frames), of whose tokens (r, n) some are sound."""
        model: Any = self.model
        gelu = nn.functional.gelu
        x = gelu(model.conv2(gelu(model.conv1(rows)))).transpose(1, 2)
        mask = None
        if self.config.padding != "30s":
            x = x[:, : heard.shape[1]]
            # A row without any sound must see something, or its softmax has no value.
            seen = heard | ~heard.any(dim=1, keepdim=True)
            mask = create_bidirectional_mask(
                config=model.config, inputs_embeds=x, attention_mask=seen.long()
            )
        x = x + model.embed_positions.weight[: x.shape[1]]
        for block in self.blocks:
            x = block(x, mask)

    def fingerprint_config(self) -> dict[str, Any]:
        """What must be equal for an adapter to fit: the architecture and what it is fed."""
        extractor = self.spec.extractor
        fed = {
            "max_seconds": self.config.max_seconds,
            "padding": self.config.padding,
            "sampling_rate": extractor.sampling_rate,
            "mel_bins": extractor.feature_size,
            "hop_length": extractor.hop_length,
            "n_fft": extractor.n_fft,
        }
        return {**super().fingerprint_config(), "log_mel": fed}


def _max_tokens(config: WhisperConfig, spec: TowerSpec) -> int:
    """Tokens of a segment of `max_seconds`; two frames make a token."""
    extractor = spec.extractor
    samples = round(config.max_seconds * extractor.sampling_rate)
    tokens = math.ceil(samples / (2 * extractor.hop_length))
    return min(tokens, int(spec.config.max_source_positions))


def _fit(tokens: Tensor, count: int) -> Tensor:
    """(b, t, n, e) cut or padded with zeros to n = `count`."""
    tokens = tokens[:, :, :count]
    return nn.functional.pad(tokens, (0, 0, 0, count - tokens.shape[2]))
