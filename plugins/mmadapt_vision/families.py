"""Where the blocks and the final norm of each family of vision transformers are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mmadapt.errors import ModelError


@dataclass(frozen=True)
class Family:
    """The anatomy of one family, by its `model_type`.

    Args:
        blocks: path of the list of blocks.
        norm: path of the final norm, None in a model that has none.
        prefix: CLS and distillation tokens; registers are counted from the configuration.
        interpolates: whether its forward must be told `interpolate_pos_encoding`.
        has_pooler: whether it is built with a pooler unless told otherwise.
    """

    blocks: str
    norm: str = "layernorm"
    prefix: int = 1
    interpolates: bool = False
    has_pooler: bool = False


_VIT = Family("layers", interpolates=True, has_pooler=True)
_DINO = Family("encoder.layer")

IMAGE_FAMILIES = {
    "vit": _VIT,
    "deit": Family("layers", prefix=2, interpolates=True, has_pooler=True),
    "clip_vision_model": Family("encoder.layers", norm="post_layernorm", interpolates=True),
    "siglip_vision_model": Family(
        "encoder.layers", norm="post_layernorm", prefix=0, interpolates=True
    ),
    "dinov2": _DINO,
    "dinov2_with_registers": _DINO,
    "dinov3_vit": Family("model.layer", norm="norm"),
}
VIDEO_FAMILIES = {
    "timesformer": Family("encoder.layer"),
    "videomae": Family("encoder.layer", prefix=0),
    "vivit": Family("layers", has_pooler=True),
}


def find_family(config: Any, families: dict[str, Family], model: str) -> Family:
    """The family of a vision tower's configuration.

    Raises:
        ModelError: it is none of `families`.
    """
    found = families.get(config.model_type)
    if found is None:
        raise ModelError(
            f"model {model} is a '{config.model_type}', which this encoder does not know; "
            f"it knows {', '.join(sorted(families))}"
        )
    return found


def num_prefix_tokens(family: Family, config: Any) -> int:
    """CLS, distillation and register tokens in front of the patches."""
    return family.prefix + (getattr(config, "num_register_tokens", 0) or 0)


def as_pair(size: int | Iterable[int]) -> tuple[int, int]:
    """(height, width) of a size that may be one number."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)
