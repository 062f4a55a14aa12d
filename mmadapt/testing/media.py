"""Media for the contract of encoders: noise in memory, files that are none, batches as loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from mmadapt.contracts import Encoder, Processor
from mmadapt.data.collate import Collator
from mmadapt.data.items import Item, Medium
from mmadapt.types import MediaInputs, MediaPart, Modality

SAMPLING_RATE = 16_000
SUFFIXES: dict[str, str] = {"image": ".png", "video": ".mp4", "audio": ".wav"}
_NO_TEXT = np.zeros(1, dtype=np.int64)


def noise(modality: Modality, seed: int) -> MediaPart:
    """A picture, a clip of 12 frames, or a sound of a second and more, in memory.

    Args:
        modality: what it is.
        seed: of its values; other seeds give other media.
    """
    rng = np.random.default_rng([seed, 17])
    if modality == "audio":
        seconds = 1.2 + 0.15 * (seed % 4)
        t = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
        tone = np.sin(2 * np.pi * (300 + 200 * seed + 300 * t) * t)
        waveform = (0.3 * tone + 0.05 * rng.standard_normal(len(t))).astype(np.float32)
        return {"type": modality, "value": (waveform, SAMPLING_RATE)}
    frames = np.stack([_picture(rng) for _ in range(12 if modality == "video" else 1)])
    return {"type": modality, "value": frames if modality == "video" else frames[0]}


def _picture(rng: np.random.Generator, height: int = 50, width: int = 40) -> np.ndarray:
    """(h, w, 3) uint8 with structure at several scales."""
    coarse = rng.integers(0, 256, (5, 4, 3)).repeat(height // 5, 0).repeat(width // 4, 1)
    fine = rng.integers(0, 64, (height, width, 3))
    return ((3 * coarse + 4 * fine) // 4).clip(0, 255).astype(np.uint8)


def unreadable(modality: Modality, folder: Path) -> dict[str, MediaPart]:
    """Media parts that no processor can read, under a word for what is wrong with each."""
    suffix = SUFFIXES[modality]
    paths = {word: folder / f"{word}{suffix}" for word in ("damaged", "empty", "missing")}
    paths["damaged"].write_bytes(b"this is no medium at all" * 40)
    paths["empty"].write_bytes(b"")
    return {word: {"type": modality, "path": str(path)} for word, path in paths.items()}


def load(processor: Processor, part: MediaPart, rng: np.random.Generator | None = None) -> Medium:
    """What a loader's worker makes of one media part."""
    result = processor(part, rng)
    values, mask = result if isinstance(result, tuple) else (result, None)
    return Medium("encoder", 0, values, mask)


def batch_of(encoder: Encoder, parts: Sequence[MediaPart | None]) -> MediaInputs:
    """One medium for each sample, None for a sample without, collated as a loader does."""
    return _collated([None if part is None else load(encoder.processor, part) for part in parts])


def padding_of(encoder: Encoder, parts: Sequence[MediaPart | None]) -> Tensor:
    """True, in the shape of the values of `batch_of`, where the loader filled them up."""
    media = [None if part is None else load(encoder.processor, part) for part in parts]
    ones = [m and Medium(m.encoder, 0, torch.ones_like(m.values), m.mask) for m in media]
    return _collated(ones)["values"] == 0


def _collated(media: Sequence[Medium | None]) -> MediaInputs:
    items = [
        Item(i, str(i), _NO_TEXT, _NO_TEXT, _NO_TEXT, () if medium is None else (medium,))
        for i, medium in enumerate(media)
    ]
    inputs = Collator(0)(items)["media"]["encoder"]
    return cast(MediaInputs, {key: inputs[key] for key in inputs if key != "keys"})


def scrambled(values: Tensor, where: Tensor) -> Tensor:
    """`values` (b, t, …) with noise of their own type where `where`, of their shape, is True."""
    generator = torch.Generator().manual_seed(5)
    if values.dtype.is_floating_point:
        other = 3 * torch.randn(values.shape, generator=generator)
    else:
        other = torch.randint(0, 256, values.shape, generator=generator)
    return torch.where(where, other.to(values.dtype), values)
