"""Loading the frozen LM, in the precision and at the place that a recipe asks for."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from mmadapt.errors import MissingDependency, ModelError
from mmadapt.recipe import LMPart
from mmadapt.weights import load_pretrained


def load_lm(part: LMPart, allow_code: bool = False) -> PreTrainedModel:
    """Loads any causal LM that transformers knows, unmodified.

    Args:
        part: the recipe's `lm` block.
        allow_code: whether the command line agrees to `trust_remote_code`.

    Raises:
        ModelError: it cannot be loaded, or it brings code that is not allowed.
        MissingDependency: quantisation is asked for and bitsandbytes is not installed.
    """
    if part.trust_remote_code and not allow_code:
        raise ModelError(
            f"lm.trust_remote_code runs code from {part.model}; pass --allow-code if you trust it"
        )
    options: dict[str, Any] = {
        "dtype": part.dtype if part.dtype == "auto" else getattr(torch, part.dtype),
        "attn_implementation": part.attn_implementation,
        "revision": part.revision,
        "device_map": part.device_map,
        "trust_remote_code": part.trust_remote_code or None,
    }
    if part.quantization is not None:
        options["quantization_config"] = _quantization(part.quantization)
    return load_pretrained(AutoModelForCausalLM.from_pretrained, part.model, **options)


def _quantization(kind: str) -> Any:
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise MissingDependency("lm.quantization", "bitsandbytes", "mmadapt[quantization]")
    return BitsAndBytesConfig(load_in_8bit=kind == "8bit", load_in_4bit=kind == "4bit")
