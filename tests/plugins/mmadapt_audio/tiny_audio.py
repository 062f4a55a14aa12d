"""Tiny random audio models saved as ordinary folders, and sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers as hf

from mmadapt.data.collate import Collator
from mmadapt.data.dataset import Item, Medium

RATE = 16_000
WIDTH, BLOCKS = 32, 3


def _ast() -> tuple[Any, Any]:
    config = hf.ASTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=4,
        intermediate_size=48,
        patch_size=16,
        frequency_stride=10,
        time_stride=12,
        max_length=64,
        num_mel_bins=40,
    )
    extractor = hf.ASTFeatureExtractor(num_mel_bins=40, max_length=64, mean=-3.5, std=1.7)
    return hf.ASTModel(config), extractor


def _ast_classifier() -> tuple[Any, Any]:
    model, extractor = _ast()
    return hf.ASTForAudioClassification(model.config), extractor


def _whisper_config() -> Any:
    return hf.WhisperConfig(
        d_model=WIDTH,
        encoder_layers=BLOCKS,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_mel_bins=8,
        max_source_positions=100,
        vocab_size=20,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )


def _whisper() -> tuple[Any, Any]:
    """Two seconds stand for the real model's thirty."""
    extractor = hf.WhisperFeatureExtractor(feature_size=8, chunk_length=2)
    return hf.WhisperForConditionalGeneration(_whisper_config()), extractor


def _whisper_base() -> tuple[Any, Any]:
    return hf.WhisperModel(_whisper_config()), _whisper()[1]


MODELS = {
    "ast": _ast,
    "ast_classifier": _ast_classifier,
    "whisper": _whisper,
    "whisper_base": _whisper_base,
}


def save_model(name: str, folder: Path) -> tuple[Any, Any]:
    """Saves a tiny model with random weights, its norms too, and returns it and its extractor."""
    torch.manual_seed(0)
    model, extractor = MODELS[name]()
    with torch.no_grad():
        for module in model.modules():
            is_norm = isinstance(module, torch.nn.LayerNorm)
            for key, parameter in module.named_parameters(recurse=False):
                parameter.normal_(1.0 if is_norm and key == "weight" else 0.0, 0.15)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model.eval(), extractor


def sound(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """(samples,) float32: a gliding tone in noise, different at every moment."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (200 + 150 * seed + 400 * t) * t)
    return (0.3 * tone + 0.05 * rng.standard_normal(len(t))).astype(np.float32)


def save_sound(path: Path, waveform: np.ndarray, rate: int = RATE) -> Path:
    """Writes (samples,) or (samples, channels) as 32-bit floats, so that nothing is rounded."""
    soundfile.write(path, waveform, rate, subtype="FLOAT")
    return path


def audio(value: np.ndarray) -> dict[str, Any]:
    """A media part in memory."""
    return {"type": "audio", "value": value}


def batch_of(encoder: Any, *waveforms: np.ndarray) -> dict[str, torch.Tensor]:
    """What the loader makes of one sound for each sample."""
    items = [
        Item(n, str(n), _NO_TEXT, _NO_TEXT, _NO_TEXT, (_medium(encoder, waveform),))
        for n, waveform in enumerate(waveforms)
    ]
    inputs = Collator(0)(items)["media"]["audio"]
    return {key: value for key, value in inputs.items() if key != "keys"}


_NO_TEXT = np.zeros(1, dtype=np.int64)


def _medium(encoder: Any, waveform: np.ndarray) -> Medium:
    result = encoder.processor(audio(waveform))
    values, mask = result if isinstance(result, tuple) else (result, None)
    return Medium("audio", 0, values, mask)
