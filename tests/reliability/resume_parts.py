"""Shards of clips for runs that are killed, and an encoder that reads random frames of them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmadapt.contracts import Processor
from tests import world

HERE = "tests.reliability.resume_parts"
FRAMES, CLIP = 2, 16
COLUMNS = {"image": "clip", "target": "txt"}


class RandomFrames(Processor):
    """Two frames of a clip of 16, drawn anew in every pass; evaluation takes the first ones."""

    def __call__(self, media: Any, rng: np.random.Generator | None = None) -> torch.Tensor:
        colour, number = map(int, Path(media["path"]).read_bytes().split())
        frames = np.random.default_rng([colour, number]).normal(size=(CLIP, 5, 8))
        frames[..., colour] += 3
        chosen = np.arange(FRAMES) if rng is None else np.sort(rng.permutation(CLIP)[:FRAMES])
        return torch.from_numpy(frames[chosen]).float()


class FramesEncoder(world.ColourEncoder):
    """Reads clips."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.processor = RandomFrames()
        self.num_items = FRAMES


def write_shards(folder: Path, shards: int = 3, count: int = 7) -> Path:
    """Writes `count` clips into each shard."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(folder / f"clips-{shard}.tar", "w") as archive:
            for number in range(shard * count, (shard + 1) * count):
                colour = number % len(world.COLOURS)
                for name, text in (
                    (f"s{number:03d}.clip", f"{colour} {number}"),
                    (f"s{number:03d}.txt", world.COLOURS[colour]),
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(text)
                    archive.addfile(info, io.BytesIO(text.encode()))
    return folder


def recipe(folder: Path, streamed: bool, **train: Any) -> dict[str, Any]:
    """Eleven steps over nearly two passes, with everything that must survive a kill.

    That is dropout, random frames, two loader workers, an accumulation of 2 that does not divide
    the pass, a schedule, momentum, validation that chooses the best checkpoint, and its retention.
    """
    shards = {"use": "webdataset", "shards": str(folder / "clips-*.tar"), "columns": COLUMNS}
    made = world.recipe(
        folder / "lm",
        encoders={"image": {"use": f"{HERE}:FramesEncoder"}},
        data={
            "train": {**shards, "streaming": streamed},
            "validation": {**shards, "limit": 4},
            "test": {**shards, "limit": 6},
            "augment": True,
            "shuffle_buffer": 6,
        },
        train={
            "max_steps": 11,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "dataloader_num_workers": 2,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 3,
            "weight_decay": 0.01,
            "save_steps": 2,
            "eval_steps": 2,
            "logging_steps": 3,
            "save_total_limit": 2,
            "use_cpu": True,
            **train,
        },
    )
    made["lm"]["dropout"] = True
    made["head"] = {"use": "caption", "prompt": "say"}
    return made


def save_lm(folder: Path) -> Path:
    """An LM whose attention drops out."""
    return world.save_lm(folder / "lm", attention_dropout=0.3)
