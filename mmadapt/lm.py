"""Loading the frozen LM, in the precision and with the LoRA that a recipe asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
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


def add_lora(lm: nn.Module, options: dict[str, Any]) -> None:
    """Puts trainable LoRA matrices beside the frozen weights of the LM, through peft.

    Args:
        lm: changed in place; its class and frozen weights stay.
        options: `r`, `alpha`, `target_modules`, `dropout`.

    Raises:
        MissingDependency: peft is not installed.
        ModelError: peft finds none of the target modules.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingDependency("lm.lora", "peft", "mmadapt[lora]") from error
    config = LoraConfig(
        r=options.get("r", 8),
        lora_alpha=options.get("alpha", 16),
        target_modules=options.get("target_modules", "all-linear"),
        lora_dropout=options.get("dropout", 0.0),
    )
    frozen = {id(p) for p in lm.parameters()}
    try:
        inject_adapter_in_model(config, lm)
    except ValueError as error:
        raise ModelError(f"lm.lora: {str(error).splitlines()[0]}") from error
    for parameter in lm.parameters():
        parameter.requires_grad_(id(parameter) not in frozen)
