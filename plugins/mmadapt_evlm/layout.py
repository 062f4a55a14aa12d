"""Which encoder blocks are read, which LM layers are gated, which of them read which level."""

from __future__ import annotations

from mmadapt_evlm.config import EvlmConfig


def resolved_span(config: EvlmConfig, depth: int) -> int:
    """The last blocks of an encoder in which the levels lie; published: 40 of 64."""
    return config.span or max(round(depth * 40 / 64), min(config.num_levels, depth))


def encoder_blocks(config: EvlmConfig, depth: int) -> list[int]:
    """Indices (from 0) of the blocks read, shallow to deep.

    Example:
        >>> encoder_blocks(EvlmConfig(), 64)
        [28, 33, 38, 43, 48, 53, 58, 63]
        >>> encoder_blocks(EvlmConfig(phase="start"), 64)
        [24, 29, 34, 39, 44, 49, 54, 59]
        >>> encoder_blocks(EvlmConfig(phase="linspace"), 64)
        [24, 30, 35, 41, 46, 52, 57, 63]
    """
    count, span = config.num_levels, resolved_span(config, depth)
    if config.phase == "end":
        return [depth - 1 - (count - 1 - level) * span // count for level in range(count)]
    first = depth - span
    if config.phase == "start":
        return [first + level * span // count for level in range(count)]
    if count == 1:
        return [depth - 1]
    return [first + round(level * (span - 1) / (count - 1)) for level in range(count)]


def gated_layers(config: EvlmConfig, num_layers: int) -> list[int]:
    """LM layers that a gated layer precedes."""
    return list(range(config.every - 1, num_layers, config.every))


def layer_levels(config: EvlmConfig, num_layers: int) -> dict[int, int]:
    """By gated LM layer, the level that it reads; one group of all levels under `concat`."""
    layers, count = gated_layers(config, num_layers), config.num_levels
    if config.levels == "concat":
        return dict.fromkeys(layers, 0)
    if config.level_map == "round_robin":
        return {i: place % count for place, i in enumerate(layers)}
    if config.level_map == "contiguous":
        return {i: place * count // len(layers) for place, i in enumerate(layers)}
    return dict(zip(layers, config.level_map, strict=True))


def attention_width(config: EvlmConfig, hidden_size: int) -> int:
    """Inner width of the attention: whole heads, at least one.

    Example:
        >>> attention_width(EvlmConfig(), 5120)
        1024
    """
    return max(1, round(config.attention_ratio * hidden_size / config.head_dim)) * config.head_dim


def mlp_width(config: EvlmConfig, hidden_size: int) -> int:
    """Inner width of the dense feed-forward part."""
    return max(1, round(config.mlp_ratio * hidden_size))
