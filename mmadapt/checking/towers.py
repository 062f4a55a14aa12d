"""Encoders on the meta device: what `check` counts of them without their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from mmadapt.checking.ledger import imagined
from mmadapt.contracts import Encoder, EncoderInfo, Fusion
from mmadapt.errors import ModelError
from mmadapt.freezing.unfreeze import read_blocks
from mmadapt.recipe import Recipe, ResolvedRecipe
from mmadapt.weights import load_pretrained, untrained


def meta_tower(model: str) -> nn.Module:
    """The media model of a checkpoint, without values: of CLIP its vision, of Whisper its encoder.

    Raises:
        ModelError: its configuration cannot be had.
    """
    whole = load_pretrained(AutoConfig.from_pretrained, model)
    with torch.device("meta"):
        tower: Any = AutoModel.from_config(getattr(whole, "vision_config", whole))
    return tower.get_encoder() if whole.is_encoder_decoder else tower


def meta_towers(recipe: ResolvedRecipe, configs: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The media model of each encoder, without values; one that cannot be built so is left out.

    Args:
        recipe: whose encoders are meant.
        configs: their options by name.

    Raises:
        ModelError: the configuration of a model cannot be had.
    """
    towers = {}
    for name, part in recipe.encoders.items():
        model, failure = getattr(configs[name], "model", None), None
        if isinstance(model, str):
            try:
                towers[name] = meta_tower(model)
                continue
            except ModelError as error:  # unless the encoder knows where its model is
                failure = error
        try:
            with imagined(), untrained():
                towers[name] = part.cls(configs[name])
        except Exception:  # a stranger's code may raise anything where tensors hold nothing
            if failure is not None:
                raise failure from None
    return towers


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
        tower = towers[entry.encoder]
        for number in numbers:
            block = _block(tower, number, depths[entry.encoder])
            size = sum(parameter.numel() for parameter in block.parameters())
            sizes[f"encoders.{entry.encoder}.block.{number}"] = size
    return sizes


def _levels(fusion: Fusion, encoder: str) -> Sequence[Any]:
    info = fusion.context.encoders.get(encoder)
    return [] if info is None else fusion.levels(info)


def _block(tower: nn.Module, number: int, count: int) -> nn.Module:
    if isinstance(tower, Encoder):
        return tower.block(number)
    return next(
        part for part in tower.modules() if isinstance(part, nn.ModuleList) and len(part) == count
    )[number]
