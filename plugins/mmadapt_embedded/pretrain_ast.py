"""Pretrain the embedded audio transformer to hear pitch, timbre, contour, rhythm, without words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    get_cosine_schedule_with_warmup,
)

from mmadapt_embedded.export import save_half, save_record
from mmadapt_shapes.tones import SAMPLE_RATE, waveform
from mmadapt_shapes.world import FIELDS, combinations

STEPS, BATCH, LEARNING_RATE = 700, 64, 1.5e-3
MEASURED = 512
MEL_BINS, FRAMES = 64, 128
_SIZES = [len(values) for values in FIELDS["audio"].values()]


def build_extractor() -> ASTFeatureExtractor:
    """Build the feature extractor: 64 mel bins, 128 frames of 10 ms."""
    return ASTFeatureExtractor(
        sampling_rate=SAMPLE_RATE, num_mel_bins=MEL_BINS, max_length=FRAMES, mean=-6.0, std=4.0
    )


def build_ast() -> ASTModel:
    """Build the untrained model: 4 blocks, 128 wide, 4 x 15 patches of the spectrogram."""
    return ASTModel(
        ASTConfig(
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=256,
            patch_size=16,
            frequency_stride=16,
            time_stride=8,
            max_length=FRAMES,
            num_mel_bins=MEL_BINS,
        )
    )


class _Sounds:
    """An endless stream of sounds of training combinations, with their labels."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.extractor = rng, build_extractor()
        self.kinds = combinations("audio", "train")

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Return spectrograms (b, frames, bins) and labels (b, fields)."""
        drawn = [self.kinds[i] for i in self.rng.integers(len(self.kinds), size=count)]
        waves = [waveform(self.rng, kind).astype(np.float32) for kind in drawn]
        inputs = self.extractor(waves, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        labels = [[v.index(kind[n]) for n, v in FIELDS["audio"].items()] for kind in drawn]
        return inputs["input_values"], torch.tensor(labels)


class _Heads(nn.Module):
    """Linear read-outs that are thrown away after pretraining."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.whole = nn.Linear(hidden_size, sum(_SIZES))
        self.token = nn.Linear(hidden_size, sum(_SIZES))

    def forward(self, model: ASTModel, values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and the whole-sound read-out (b, classes) for measuring."""
        output = model(input_values=values)
        whole = self.whole(output.pooler_output)
        token = self.token(output.last_hidden_state[:, 2:])
        return _loss(whole[:, None], labels) + _loss(token, labels), whole


def _loss(read: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every field at every token; ``read`` is (b, n, classes)."""
    losses = [
        F.cross_entropy(part.flatten(0, 1), label.repeat_interleave(read.shape[1]))
        for part, label in zip(read.split(_SIZES, dim=-1), labels.T, strict=True)
    ]
    return torch.stack(losses).sum()


@torch.no_grad()
def _measure(model: ASTModel, heads: _Heads, sounds: _Sounds) -> dict[str, float]:
    """Measure the read-out on fresh sounds of training combinations."""
    values, labels = sounds.batch(MEASURED)
    parts = heads(model.eval(), values, labels)[1].split(_SIZES, dim=-1)
    return {
        f"{name}_accuracy": round((part.argmax(-1) == label).float().mean().item(), 3)
        for name, part, label in zip(FIELDS["audio"], parts, labels.T, strict=True)
    }


def pretrain_ast(output: Path, seed: int = 0) -> None:
    """Train the audio spectrogram transformer and save it with its feature extractor.

    Args:
        output: Folder to write.
        seed: Decides the initial weights and every sound.
    """
    torch.manual_seed(seed)
    sounds = _Sounds(np.random.default_rng([seed, 3]))
    model = build_ast()
    heads = _Heads(model.config.hidden_size)
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.02)
    schedule = get_cosine_schedule_with_warmup(optimizer, 100, STEPS)
    for _ in (bar := tqdm(range(STEPS), desc="audio transformer", unit="step")):
        loss, _ = heads(model, *sounds.batch(BATCH))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    save_half(model, output)
    sounds.extractor.save_pretrained(output)
    record = {
        "part": "ast",
        "seed": seed,
        "steps": STEPS,
        "batch_size": BATCH,
        "saw": "sounds: pitch, timbre, contour and rhythm as numbers, no words",
        "combinations": "the training combinations of sounds alone",
        "reached_on_fresh_training_sounds": _measure(model, heads, sounds),
    }
    save_record(output, record)
