"""Pretrain the embedded vision transformer to see: colour, shape, place and size, without words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import (
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
    get_cosine_schedule_with_warmup,
)

from mmadapt_embedded.export import save_half, save_record
from mmadapt_embedded.frames import PATCH, Frames, frame_batch
from mmadapt_shapes.draw import SIZE
from mmadapt_shapes.world import COLOURS, SHAPES

STEPS, BATCH, LEARNING_RATE = 1200, 128, 1.5e-3
MEASURED = 512
_PARTS = (len(COLOURS), len(SHAPES), 3)


class _Heads(nn.Module):
    """Linear read-outs that are thrown away after pretraining."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.whole = nn.Linear(hidden_size, sum(_PARTS))
        self.patch = nn.Linear(hidden_size, sum(_PARTS) + 1)

    def forward(self, model: ViTModel, batch: Frames) -> tuple[Tensor, Tensor]:
        """Return the loss, and the whole-picture read-out for measuring."""
        output = model(pixel_values=batch.pixel_values)
        whole = self.whole(output.pooler_output)
        patch = self.patch(output.last_hidden_state[:, 1:])
        cover = F.binary_cross_entropy_with_logits(patch[..., -1], batch.cover)
        loss = _loss(whole[:, None], batch) + _loss(patch[..., :-1], batch) + cover
        return loss, whole


def _loss(read: Tensor, batch: Frames) -> Tensor:
    """Colour and shape by cross-entropy, place and size by squared error, for each token."""
    tokens = read.shape[1]
    colour, shape, place = read.split(_PARTS, dim=-1)
    named = sum(
        F.cross_entropy(part.flatten(0, 1), label.repeat_interleave(tokens))
        for part, label in ((colour, batch.colour), (shape, batch.shape))
    )
    return named + 4 * (place - batch.place[:, None]).square().mean()


def build_vit() -> ViTModel:
    """Build the untrained model: 4 blocks, 128 wide, 8 x 8 patches of a 64 x 64 picture."""
    return ViTModel(
        ViTConfig(
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=256,
            image_size=SIZE,
            patch_size=PATCH,
        )
    )


@torch.no_grad()
def _measure(model: ViTModel, heads: _Heads, rng: np.random.Generator) -> dict[str, float]:
    """Measure the read-out on fresh frames of training combinations."""
    batch = frame_batch(rng, MEASURED)
    colour, shape, place = heads(model.eval(), batch)[1].split(_PARTS, dim=-1)
    return {
        "colour_accuracy": round((colour.argmax(-1) == batch.colour).float().mean().item(), 3),
        "shape_accuracy": round((shape.argmax(-1) == batch.shape).float().mean().item(), 3),
        "place_error": round((place - batch.place).abs().mean().item(), 3),
    }


def pretrain_vit(output: Path, seed: int = 0) -> None:
    """Train the vision transformer and save it with its image processor.

    Args:
        output: Folder to write.
        seed: Decides the initial weights and every frame.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 2])
    model = build_vit()
    heads = _Heads(model.config.hidden_size)
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.02)
    schedule = get_cosine_schedule_with_warmup(optimizer, 100, STEPS)
    for _ in (bar := tqdm(range(STEPS), desc="vision transformer", unit="step")):
        loss, _ = heads(model, frame_batch(rng, BATCH))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    save_half(model, output)
    half = [0.5, 0.5, 0.5]
    ViTImageProcessor(
        size={"height": SIZE, "width": SIZE}, image_mean=half, image_std=half
    ).save_pretrained(output)
    record = {
        "part": "vit",
        "seed": seed,
        "steps": STEPS,
        "batch_size": BATCH,
        "saw": "single frames of clips and pictures: colour, shape, place and size as numbers, "
        "no words",
        "combinations": "the training combinations of clips and of pictures alone; a clip's frame "
        "that is also a picture of a held-out picture combination is skipped",
        "reached_on_fresh_training_frames": _measure(model, heads, rng),
    }
    save_record(output, record)
