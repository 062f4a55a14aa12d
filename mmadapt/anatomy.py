"""Where the sites of a Hugging Face causal LM are: layers, attention, MLP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from mmadapt.errors import AttachError, PluginError
from mmadapt.registry import get_registry


@dataclass(frozen=True)
class Anatomy:
    """Names of the modules of one LM family; those of the layers are counted from a layer.

    Args:
        layers: the list of decoder layers.
        attention: the self-attention; its input is the hidden states.
        attention_output: the module whose output is added to the residual, if not `attention`
            itself.
        mlp_input: the module that receives the MLP's input.
        mlp_output: the module whose output is added to the residual.
        position_embedding: the LM's table of learned positions, if it has one.
        pad_position: the position number that the LM itself gives to padding, if it is its own.
        adds_in_place: whether a layer changes what its MLP gave in place.
    """

    layers: str = "model.layers"
    attention: str = "self_attn"
    attention_output: str | None = None
    mlp_input: str = "mlp"
    mlp_output: str = "mlp"
    position_embedding: str | None = None
    pad_position: int | None = None
    adds_in_place: bool = False


LLAMA = Anatomy()
GEMMA = Anatomy(
    attention_output="post_attention_layernorm", mlp_output="post_feedforward_layernorm"
)
FAMILIES: dict[str, Anatomy] = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "phi3": LLAMA,
    "smollm3": LLAMA,
    "stablelm": LLAMA,
    "gemma": LLAMA,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "opt": Anatomy(
        layers="model.decoder.layers",
        mlp_input="fc1",
        mlp_output="fc2",
        position_embedding="model.decoder.embed_positions",
        pad_position=-1,
    ),
    "gpt_neox": Anatomy(layers="gpt_neox.layers", attention="attention"),
    "gpt2": Anatomy(layers="transformer.h", attention="attn", position_embedding="transformer.wpe"),
    "falcon": Anatomy(layers="transformer.h", attention="self_attention", adds_in_place=True),
}


def find_anatomy(model_type: str) -> Anatomy:
    """The anatomy of an LM family, from the table above or from a plugin.

    Raises:
        AttachError: nobody has described the family.
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    try:
        anatomy: Anatomy = get_registry().get("lm_anatomy", model_type).load()
    except PluginError as error:
        raise AttachError(
            f"language models of type '{model_type}' are unknown here; known: "
            f"{', '.join(sorted(FAMILIES))}. Register a mmadapt.Anatomy called '{model_type}': "
            "where its layers, attention and MLP are (hook register_lm_anatomies)"
        ) from error
    return anatomy


def find_layers(lm: nn.Module, anatomy: Anatomy) -> nn.ModuleList:
    """The decoder layers of `lm`.

    Raises:
        AttachError: the LM does not look as its family's anatomy says.
    """
    layers = find_part(lm, anatomy.layers)
    if not isinstance(layers, nn.ModuleList):
        raise AttachError(f"'{anatomy.layers}' of {type(lm).__name__} is no list of layers")
    return layers


def find_attentions(lm: nn.Module) -> list[nn.Module]:
    """The self-attention of every layer, for fusions that use the LM's own projections.

    Raises:
        AttachError: nobody has described the family, or the LM does not look so.
    """
    config: Any = lm.config
    anatomy = find_anatomy(str(config.get_text_config().model_type))
    return [find_part(layer, anatomy.attention) for layer in find_layers(lm, anatomy)]


def find_part(module: nn.Module, name: str) -> nn.Module:
    """The submodule of an LM or a layer that an anatomy names.

    Raises:
        AttachError: it is not there.
    """
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        raise AttachError(
            f"{type(module).__name__} has no '{name}', where its family's anatomy looks for it"
        ) from error
