"""A frozen audio model of transformers: what is known of it before its weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, AutoFeatureExtractor

from mmadapt.errors import ModelError
from mmadapt.weights import load_pretrained
from mmadapt_audio.config import AudioConfig


@dataclass(frozen=True)
class TowerSpec:
    """What configuration files alone say of an audio model and of what it is fed."""

    config: Any
    extractor: Any


def read_spec(options: AudioConfig, model_type: str) -> TowerSpec:
    """Reads a model's configuration and its feature extractor's; no weights.

    Raises:
        ModelError: the files cannot be had, or they are of another architecture.
    """
    place: dict[str, Any] = {"model": options.model, "revision": options.revision}
    config = load_pretrained(AutoConfig.from_pretrained, **place)
    if config.model_type != model_type:
        raise ModelError(
            f"model {options.model} is a '{config.model_type}'; this encoder takes '{model_type}'"
        )
    return TowerSpec(config, load_pretrained(AutoFeatureExtractor.from_pretrained, **place))
