"""Loading the frozen LM, in the precision and at the place that a recipe asks for."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

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
        MissingDependency: quantisation is asked for and bitsandbytes is not installed, or a GGUF
            file and gguf is not.
    """
    if part.trust_remote_code and not allow_code:
        raise ModelError(
            f"lm.trust_remote_code runs code from {part.model}; pass --allow-code if you trust it"
        )
    options: dict[str, Any] = {
        "dtype": part.dtype if part.dtype == "auto" else getattr(torch, part.dtype),
        "attn_implementation": part.attn_implementation,
        "revision": part.revision,
        "gguf_file": part.gguf_file,
        "device_map": part.device_map,
        "trust_remote_code": part.trust_remote_code or None,
    }
    if part.quantization is not None:
        options["quantization_config"] = _quantization(part.quantization)
    return load_pretrained(AutoModelForCausalLM.from_pretrained, part.model, **options)


def load_config(part: LMPart, place: str | None = None) -> Any:
    """The configuration of the LM, without its weights.

    Args:
        part: the recipe's `lm` block.
        place: a folder that holds it, in place of `part.model`.

    Raises:
        ModelError: it cannot be had.
    """
    options = {"revision": part.revision, "gguf_file": part.gguf_file}
    return load_pretrained(AutoConfig.from_pretrained, place or part.model, **options)


def load_tokenizer(part: LMPart, allow_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the LM, or the one that the recipe names.

    Args:
        part: the recipe's `lm` block.
        allow_code: whether the command line agrees to `trust_remote_code`.

    Raises:
        ModelError: it cannot be had.
    """
    own: dict[str, Any] = {"trust_remote_code": (part.trust_remote_code and allow_code) or None}
    if part.tokenizer:
        own["revision"] = part.tokenizer_revision
    else:
        own |= {"revision": part.revision, "gguf_file": part.gguf_file}
    model = part.tokenizer or part.model
    try:
        return load_pretrained(AutoTokenizer.from_pretrained, model, **own)
    except ModelError as error:
        raise ModelError(f"tokenizer: {error}") from error


def _quantization(kind: str) -> Any:
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise MissingDependency("lm.quantization", "bitsandbytes", "mmadapt[quantization]")
    return BitsAndBytesConfig(load_in_8bit=kind == "8bit", load_in_4bit=kind == "4bit")
