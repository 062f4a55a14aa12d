"""Tiny random audio models saved as ordinary folders, and sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers as hf

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


MODELS = {"ast": _ast, "ast_classifier": _ast_classifier}


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
