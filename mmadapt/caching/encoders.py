"""A recipe's encoders with their weights, and its LM and fusions without any: enough to encode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM

from mmadapt.composition import compose
from mmadapt.contracts import EncodedText, Head, HeadConfig
from mmadapt.lm import load_config, load_tokenizer
from mmadapt.model import MultimodalModel
from mmadapt.recipe import ResolvedRecipe


class NoText(Head):
    """Stands in for a recipe's head where only media count."""

    def __init__(self) -> None:
        super().__init__(HeadConfig())

    def encode(self, sample: Any, tokenizer: Any, **_: Any) -> EncodedText:
        """One token, whatever the sample says."""
        return EncodedText([0], [0], [])


def encoders_alone(recipe: ResolvedRecipe, allow_code: bool = False) -> MultimodalModel:
    """The model of a recipe as far as encoding needs it; LM and fusions lie on the meta device.

    Raises:
        ModelError: an encoder, or a configuration of the LM, cannot be had.
        AttachError: the fusions do not fit the LM.
    """
    part = recipe.recipe.lm.model_copy(update={"device_map": None, "quantization": None})
    bare = replace(recipe, recipe=recipe.recipe.model_copy(update={"lm": part}))
    encoders = {name: part.cls(part.config) for name, part in recipe.encoders.items()}
    config, tokenizer = load_config(part), load_tokenizer(part)
    with torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        model = compose(bare, lm=lm, tokenizer=tokenizer, encoders=encoders, allow_code=allow_code)
    use_cpu = recipe.recipe.train.arguments.get("use_cpu") or not torch.cuda.is_available()
    model.encoders.to("cpu" if use_cpu else "cuda")
    model.head = cast(Head, NoText())
    return model
