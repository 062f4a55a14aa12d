"""What a configuration needs of encoder and LM, and how it differs from the published one."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from mmadapt.contracts import FusionContext
from mmadapt.errors import RecipeError
from mmadapt_evlm.config import SILENT, EvlmConfig, MoeConfig
from mmadapt_evlm.layout import attention_width, gated_layers, mlp_width, resolved_span


def check_context(config: EvlmConfig, context: FusionContext) -> None:
    """Compares what the options ask for with what encoders and LM give.

    Raises:
        RecipeError: no encoder, too few blocks, a level map that does not fit, or experts that do
            not divide the feed-forward width.
    """
    where = f"fusion '{context.name}'"
    if not context.encoders:
        raise RecipeError(f"{where}: serves no encoder; name one under encoders:")
    for name, info in context.encoders.items():
        span = resolved_span(config, info.num_levels)
        if not config.num_levels <= span <= info.num_levels:
            raise RecipeError(
                f"{where}: {config.num_levels} levels do not fit in the last {span} of the "
                f"{info.num_levels} blocks of encoder '{name}'; num_levels <= span <= "
                f"{info.num_levels} is needed, such as num_levels: "
                f"{min(config.num_levels, info.num_levels, span)}"
            )
    _check_layers(where, config, context)
    inner = mlp_width(config, context.hidden_size)
    if config.moe is not None and inner % config.moe.num_slices:
        raise RecipeError(
            f"{where}: the feed-forward width {inner} (mlp_ratio: {config.mlp_ratio}) cannot be "
            f"cut into num_slices: {config.moe.num_slices}; change one of them"
        )


def _check_layers(where: str, config: EvlmConfig, context: FusionContext) -> None:
    gated = len(gated_layers(config, context.num_layers))
    if not gated:
        raise RecipeError(
            f"{where}: every: {config.every} leaves no gated layer in an LM of "
            f"{context.num_layers} layers; choose every: {context.num_layers} or less"
        )
    if isinstance(config.level_map, list) and config.levels == "split":
        wrong = [level for level in config.level_map if level >= config.num_levels]
        if len(config.level_map) != gated or wrong:
            raise RecipeError(
                f"{where}: level_map needs {gated} levels from 0 to {config.num_levels - 1}, one "
                f"for each gated layer, and has {len(config.level_map)}: {config.level_map}"
            )


def departures(config: EvlmConfig, context: FusionContext) -> list[str]:
    """One sentence for each way in which `config` here is not the published or default method."""
    sentences = _options("", config, EvlmConfig.model_validate({}))
    if config.moe is not None:
        sentences += _options("moe.", config.moe, MoeConfig.model_validate({}))
    inner = attention_width(config, context.hidden_size)
    exact = config.attention_ratio * context.hidden_size
    if inner != exact:
        sentences.append(
            f"The attention is {inner} wide, {exact:g} rounded to whole heads of {config.head_dim}."
        )
    for name, info in context.encoders.items():
        if (info.hidden_size, info.num_levels) != (1792, 64):
            sentences.append(
                f"Encoder '{name}' has {info.num_levels} blocks of width {info.hidden_size}; "
                "published is EVA2-CLIP-E-plus: 64 blocks, width 1792."
            )
    if len(context.encoders) > 1:
        sentences.append(
            f"The encoders {', '.join(context.encoders)} share the gated layers, each with its own "
            "keys and values; published is a single encoder."
        )
    return sentences


_NOT_METHOD = {"moe", "cache_kv", "gradient_checkpointing", "upcycle_from"}


def _options(prefix: str, config: BaseModel, default: BaseModel) -> list[str]:
    sentences = []
    for name, field in type(config).model_fields.items():
        value, usual = getattr(config, name), getattr(default, name)
        if name in _NOT_METHOD or value == usual:
            continue
        silent = (field.description or "").startswith(SILENT)
        instead = "our default, the paper being silent, is" if silent else "published is"
        if name == "span":
            usual = 40
        sentences.append(f"{prefix}{name}: {_text(value)}; {instead} {_text(usual)}.")
    return [text for text in sentences if text != "span: 40; published is 40."]


def _text(value: Any) -> str:
    return json.dumps(value)
