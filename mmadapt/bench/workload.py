"""What a benchmark runs on: random text and random features, of the sizes that count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmadapt.contracts import Encoder, EncoderInfo, Fusion
from mmadapt.types import IGNORE_INDEX, Features


@dataclass(frozen=True)
class Workload:
    """A batch of equal samples; only sizes matter, so that no weights or data are needed.

    Args:
        batch_size: samples of a training step.
        text_tokens: text tokens of a sample, and of the prompt in generation.
        labelled_tokens: the last so many are learnt.
        items: media items (frames, images) of a sample; None takes what the encoder gives.
        new_tokens: tokens generated.
        vocabulary: ids are drawn from its first so many.
    """

    batch_size: int = 4
    text_tokens: int = 48
    labelled_tokens: int = 24
    items: int | None = None
    new_tokens: int = 64
    vocabulary: int = 1000

    def text(self, batch_size: int, device: torch.device) -> Tensor:
        """Token ids (b, s)."""
        generator = torch.Generator().manual_seed(0)
        shape = (batch_size, self.text_tokens)
        return torch.randint(5, self.vocabulary, shape, generator=generator).to(device)

    def labels(self, ids: Tensor) -> Tensor:
        """Labels (b, s): the last tokens of every sample."""
        labels = ids.clone()
        labels[:, : -self.labelled_tokens] = IGNORE_INDEX
        return labels

    def features(
        self,
        fusion: Fusion,
        infos: Mapping[str, EncoderInfo],
        batch_size: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> dict[str, Features]:
        """What a cache would hand to a fusion: its levels after its parameter-free `reduce`."""
        generator = torch.Generator().manual_seed(1)
        result = {}
        for name, info in infos.items():
            items = self.items or info.num_items
            patches = info.grid[0] * info.grid[1] if info.grid else 1
            shape = (batch_size, items, info.num_prefix_tokens + patches)
            levels = tuple(
                torch.randn(*shape, info.hidden_size, generator=generator).to(device, dtype)
                for _ in fusion.levels(info)
            )
            features = Features(
                levels,
                torch.ones(shape, dtype=torch.bool, device=device),
                torch.zeros(shape[:2], dtype=torch.long, device=device),
                info.num_prefix_tokens,
                info.grid,
            )
            result[name] = fusion.reduce(features)
        return result


def example_values(encoder: Encoder, items: int | None = None) -> Tensor:
    """What the processor makes of one noisy medium: (t, ...), with `items` of them if given."""
    rng = np.random.default_rng(0)
    value: Any
    if encoder.modality == "audio":
        value = (rng.standard_normal(160_000).astype(np.float32), 16_000)
    elif encoder.modality == "image":
        value = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    else:
        value = rng.integers(0, 256, (max(encoder.num_items, 8), 256, 256, 3), dtype=np.uint8)
    result = encoder.processor({"type": encoder.modality, "value": value})
    values = result[0] if isinstance(result, tuple) else result
    if items is None:
        return values
    return values[:1].expand(items, *values.shape[1:])
