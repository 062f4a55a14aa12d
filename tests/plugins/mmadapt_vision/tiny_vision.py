"""Tiny random vision models of every family, saved as ordinary folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from PIL import Image

WIDTH, BLOCKS = 32, 3
_SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
_TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 20,
    "max_position_embeddings": 8,
}
_SQUASH = {"size": {"height": 32, "width": 32}}
_CROP = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}


def _clip() -> tuple[Any, Any]:
    config = hf.CLIPConfig(vision_config=_SIZES, text_config=_TEXT, projection_dim=16)
    return hf.CLIPModel(config), hf.CLIPImageProcessor(**_CROP)


def _siglip() -> tuple[Any, Any]:
    config = hf.SiglipConfig(vision_config=_SIZES, text_config=_TEXT)
    return hf.SiglipModel(config), hf.SiglipImageProcessor(**_SQUASH)


IMAGE_MODELS = {
    "vit": lambda: (hf.ViTModel(hf.ViTConfig(**_SIZES)), hf.ViTImageProcessor(**_SQUASH)),
    "vit_classifier": lambda: (
        hf.ViTForImageClassification(hf.ViTConfig(**_SIZES)),
        hf.ViTImageProcessor(**_SQUASH),
    ),
    "deit": lambda: (
        hf.DeiTModel(hf.DeiTConfig(**_SIZES)),
        hf.DeiTImageProcessor(
            size={"height": 40, "width": 40}, crop_size={"height": 32, "width": 32}
        ),
    ),
    "clip": _clip,
    "clip_tower": lambda: (
        hf.CLIPVisionModel(hf.CLIPVisionConfig(**_SIZES)),
        hf.CLIPImageProcessor(**_CROP),
    ),
    "siglip": _siglip,
    "siglip_tower": lambda: (
        hf.SiglipVisionModel(hf.SiglipVisionConfig(**_SIZES)),
        hf.SiglipImageProcessor(**_SQUASH),
    ),
    # As the published DINOv2: its positions are made for larger pictures than its processor gives.
    "dinov2": lambda: (
        hf.Dinov2Model(hf.Dinov2Config(**{**_SIZES, "image_size": 56})),
        hf.BitImageProcessor(**_CROP),
    ),
    "dinov2_with_registers": lambda: (
        hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**_SIZES, num_register_tokens=2)),
        hf.BitImageProcessor(**_CROP),
    ),
    "dinov3_vit": lambda: (
        hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**_SIZES, num_register_tokens=4)),
        hf.DINOv3ViTImageProcessor(**_SQUASH),
    ),
}
PREFIX_TOKENS = {
    "vit": 1,
    "vit_classifier": 1,
    "deit": 2,
    "clip": 1,
    "clip_tower": 1,
    "siglip": 0,
    "siglip_tower": 0,
    "dinov2": 1,
    "dinov2_with_registers": 3,
    "dinov3_vit": 5,
}
_VIVIT = {key: value for key, value in _SIZES.items() if key != "patch_size"}
VIDEO_MODELS = {
    "timesformer": lambda: (
        hf.TimesformerModel(hf.TimesformerConfig(**_SIZES, num_frames=4)),
        hf.TimesformerVideoProcessor(**_CROP),
    ),
    "videomae": lambda: (
        hf.VideoMAEModel(hf.VideoMAEConfig(**_SIZES, num_frames=4, use_mean_pooling=False)),
        hf.VideoMAEVideoProcessor(**_CROP),
    ),
    "vivit": lambda: (
        hf.VivitModel(hf.VivitConfig(**_VIVIT, num_frames=4, tubelet_size=[2, 8, 8])),
        hf.VivitVideoProcessor(**_CROP),
    ),
}


def save_model(name: str, folder: Path) -> tuple[Any, Any]:
    """Saves a tiny model with random weights, its norms too, and returns it and its processor."""
    torch.manual_seed(0)
    model, processor = {**IMAGE_MODELS, **VIDEO_MODELS}[name]()
    with torch.no_grad():
        for module in model.modules():
            is_norm = isinstance(module, torch.nn.LayerNorm)
            for key, parameter in module.named_parameters(recurse=False):
                parameter.normal_(1.0 if is_norm and key == "weight" else 0.0, 0.15)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model.eval(), processor


def picture(height: int = 50, width: int = 37, seed: int = 0) -> Image.Image:
    """A picture with structure at every scale."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    ramp = np.linspace(0, 255, width)[None, :, None].repeat(height, 0).astype(np.uint8)
    return Image.fromarray(np.where(rng.random((height, width, 1)) < 0.4, noise, ramp))


def frames(count: int, height: int = 50, width: int = 37) -> np.ndarray:
    """(t, h, w, 3) frames, each different."""
    return np.stack([np.asarray(picture(height, width, seed)) for seed in range(count)])


def tower_of(model: Any) -> Any:
    """The bare vision tower of a saved model."""
    return getattr(model, "vision_model", None) or getattr(model, "vit", model)
