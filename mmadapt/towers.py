"""Encoders on the meta device: what `check` counts of them without their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from mmadapt.contracts import EncoderInfo, Fusion
from mmadapt.recipe import Recipe
from mmadapt.unfreeze import read_blocks
from mmadapt.weights import load_pretrained


def meta_tower(model: str) -> nn.Module:
    """The media model of a checkpoint, without values: of CLIP its vision, of Whisper its encoder.

    Raises:
        ModelError: its configuration cannot be had.
    """
    whole = load_pretrained(AutoConfig.from_pretrained, model)
    with torch.device("meta"):
        tower: Any = AutoModel.from_config(getattr(whole, "vision_config", whole))
    return tower.get_encoder() if whole.is_encoder_decoder else tower


def unfrozen_sizes(
    recipe: Recipe,
    towers: Mapping[str, nn.Module],
    infos: Mapping[str, EncoderInfo],
    fusions: Sequence[Fusion],
) -> dict[str, int]:
    """Parameters of each encoder block that `train.unfreeze` adds to the adapter, by name.

    Raises:
        RecipeError: an entry names blocks that cannot train.
    """
    if not recipe.train.unfreeze:
        return {}
    read = {
        name: max(
            (level.block + 1 for fusion in fusions for level in _levels(fusion, name)), default=0
        )
        for name in infos
    }
    depths = {name: info.num_levels for name, info in infos.items()}
    chosen = read_blocks(recipe, depths, read)
    sizes = {}
    for entry, numbers in zip(recipe.train.unfreeze, chosen, strict=True):
        if entry.encoder not in towers:
            continue  # of unknown size
        blocks = _blocks(towers[entry.encoder], depths[entry.encoder])
        for number in numbers:
            size = sum(parameter.numel() for parameter in blocks[number].parameters())
            sizes[f"encoders.{entry.encoder}.block.{number}"] = size
    return sizes


def _levels(fusion: Fusion, encoder: str) -> Sequence[Any]:
    info = fusion.context.encoders.get(encoder)
    return [] if info is None else fusion.levels(info)


def _blocks(tower: nn.Module, count: int) -> nn.ModuleList:
    return next(
        part for part in tower.modules() if isinstance(part, nn.ModuleList) and len(part) == count
    )
