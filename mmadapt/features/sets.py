"""What a set of cached features follows from, written down; a hash of it is the set's name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from mmadapt.contracts import Encoder, Fusion, encoder_info
from mmadapt.features.code import code_of
from mmadapt.features.settings import settings_of

FORMAT = 2  # of entries
_PACKAGES = (
    *("mmadapt", "torch", "torchvision", "torchaudio", "transformers", "numpy", "pillow"),
    *("decord", "av", "soundfile"),
)
_LOCATION = ("model", "revision")  # where weights were found; their hash says which they are


def about_set(
    encoder: Encoder, fusion: Fusion, weights: dict[tuple[str, int], str], name: str
) -> dict[str, Any]:
    """What the features that a fusion reads of an encoder follow from.

    Args:
        encoder: with its weights.
        fusion: which reads it.
        weights: hashes that are known, by encoder name and last block; filled here.
        name: of the encoder.

    Raises:
        Nameless: the encoder's processor holds what cannot be written down.
    """
    levels = list(fusion.levels(encoder_info(encoder)))
    key = (name, max((level.block for level in levels), default=0))
    if key not in weights:
        weights[key] = weights_hash(encoder, key[1])
    return {
        "format": FORMAT,
        "encoder": {
            "class": _class(encoder),
            "code": code_of(encoder),
            "model": str(getattr(getattr(encoder, "config", None), "model", "")),
            "options": _options(encoder),
            "fed": settings_of(encoder.fingerprint_config()),
            "weights": weights[key],
        },
        "processor": settings_of(encoder.processor),
        "processor_code": code_of(encoder.processor),
        "levels": [[level.block, level.normed] for level in levels],
        "reduce": reduce_of(fusion),
        "computed": {"versions": _versions()},
    }


def reduce_of(fusion: Fusion) -> Any:
    """What a fusion's `reduce` depends on; None where it keeps everything."""
    own = type(fusion).reduce
    if own is Fusion.reduce:
        return None
    return [_class(fusion), code_of(type(fusion)), settings_of(dict(fusion.reduce_options()))]


def weights_hash(encoder: Encoder, last: int) -> str:
    """A hash of every parameter and buffer that the blocks up to `last` need."""
    beyond = {id(tensor) for block in _beyond(encoder, last) for tensor in _tensors(block)}
    total = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict(keep_vars=True).items()):
        if id(tensor) in beyond:
            continue
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        raw = tensor.detach().cpu().contiguous().flatten()
        total.update(raw.view(torch.uint8).numpy().data if raw.numel() else b"")
    return total.hexdigest()


def _beyond(encoder: Encoder, last: int) -> Sequence[Any]:
    blocks = getattr(encoder, "blocks", None)
    return list(blocks)[last + 1 :] if isinstance(blocks, torch.nn.ModuleList) else []


def _tensors(block: torch.nn.Module) -> list[Tensor]:
    return [*block.parameters(), *block.buffers()]


def _options(encoder: Encoder) -> Any:
    config = getattr(encoder, "config", None)
    if not isinstance(config, BaseModel):
        return None
    return settings_of({k: v for k, v in dict(config).items() if k not in _LOCATION})


def _class(part: Any) -> str:
    return f"{type(part).__module__}:{type(part).__qualname__}"


@cache
def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
