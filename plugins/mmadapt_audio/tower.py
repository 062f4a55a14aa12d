"""A frozen audio model of transformers: what is known of it unloaded, and loading it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoFeatureExtractor, PreTrainedModel
from transformers.utils import logging

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


def load_tower(cls: Any, options: AudioConfig, spec: TowerSpec, **more: Any) -> PreTrainedModel:
    """Loads the weights of a tower.

    Args:
        cls: the class of transformers whose weights are wanted.
        options: say where they are.
        spec: of the same model.
        more: handed to `from_pretrained`.

    Raises:
        ModelError: the weights cannot be had, or are not those of such a tower.
    """
    with _silent_report():
        model, report = load_pretrained(
            cls.from_pretrained,
            options.model,
            revision=options.revision,
            config=spec.config,
            dtype=getattr(torch, options.dtype),
            attn_implementation=options.attn_implementation,
            output_loading_info=True,
            **more,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"model {options.model} lacks {len(missing)} weights of type {spec.config.model_type}, "
            f"among them {missing[0]}; is it a checkpoint of that architecture?"
        )
    return model.eval()


@contextmanager
def _silent_report() -> Iterator[None]:
    """Decoders and heads that stay unread are meant to; what is missing is an error of ours."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
