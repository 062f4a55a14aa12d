"""A frozen vision transformer of transformers: what is known of it unloaded, and loading it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoVideoProcessor,
    PreTrainedModel,
)

from mmadapt.encoding import load_tower
from mmadapt.weights import load_pretrained
from mmadapt_vision.config import PixelConfig, VitConfig
from mmadapt_vision.families import IMAGE_FAMILIES, VIDEO_FAMILIES, Family, as_pair, find_family
from mmadapt_vision.pixels import PixelRule, pixel_rule


@dataclass(frozen=True)
class TowerSpec:
    """What configuration files alone say of a tower: its anatomy, its sizes, its pixels."""

    family: Family
    config: Any
    rule: PixelRule


def read_spec(options: PixelConfig) -> TowerSpec:
    """Reads a model's configuration and its image processor's; no weights.

    A checkpoint of two towers (CLIP, SigLIP) is read for its vision tower.

    Raises:
        ModelError: the files cannot be had, or the architecture is not known.
    """
    is_image = isinstance(options, VitConfig)
    families = IMAGE_FAMILIES if is_image else VIDEO_FAMILIES
    place: dict[str, Any] = {"model": options.model, "revision": options.revision}
    config = load_pretrained(AutoConfig.from_pretrained, **place)
    config = getattr(config, "vision_config", config)
    family = find_family(config, families, options.model)
    auto: Any = AutoImageProcessor if is_image else AutoVideoProcessor
    own_size = as_pair(config.image_size)
    rule = pixel_rule(
        load_pretrained(auto.from_pretrained, **place),
        fallback_size=own_size,
        image_size=options.image_size if isinstance(options, VitConfig) else own_size[0],
        resize=options.resize,
        mean_std=options.mean_std,
    )
    return TowerSpec(family, config, rule)


def load_vision_tower(options: PixelConfig, spec: TowerSpec) -> PreTrainedModel:
    """Loads the weights of a tower, without the heads that levels never reach.

    Raises:
        ModelError: the weights cannot be had, or are not those of such a tower.
    """
    config = spec.config
    if config.model_type == "siglip_vision_model":
        config.vision_use_head = False  # attention pooling
    for name in ("pos_embed_shift", "pos_embed_jitter", "pos_embed_rescale"):
        if hasattr(config, name):  # DINOv3 moves its positions at random in train mode
            setattr(config, name, None)
    pooling = False if spec.family.has_pooler else None
    return load_tower(AutoModel, options, config, add_pooling_layer=pooling)
