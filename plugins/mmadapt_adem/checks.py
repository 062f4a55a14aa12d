"""What a configuration needs of the encoders, and how it differs from the published one."""

from __future__ import annotations

import json

from mmadapt.contracts import EncoderInfo, FusionContext
from mmadapt.errors import RecipeError
from mmadapt.pooling import check_grid
from mmadapt_adem.config import AdemConfig


def check_context(config: AdemConfig, context: FusionContext) -> None:
    """Compares what the options ask for with what the encoders give.

    Raises:
        RecipeError: no encoder, no CLS, no such level, or a scale finer than an encoder's grid.
    """
    name = context.name
    if not context.encoders:
        raise RecipeError(f"fusion '{name}': serves no encoder; name one under encoders:")
    for encoder, info in context.encoders.items():
        if config.cls and info.num_prefix_tokens == 0:
            raise RecipeError(
                f"fusion '{name}': cls needs a CLS token, which encoder '{encoder}' does not have; "
                "set cls: false"
            )
        if not -info.num_levels <= config.level < info.num_levels:
            raise RecipeError(
                f"fusion '{name}': level: {config.level} is not among the {info.num_levels} blocks "
                f"of encoder '{encoder}' ({-info.num_levels} to {info.num_levels - 1})"
            )
        if info.grid is not None:
            check_grid(name, config.scales, info.grid, encoder)


def departures(config: AdemConfig, context: FusionContext) -> list[str]:
    """One sentence for each way in which `config` on these encoders is not the published method."""
    published = AdemConfig.model_validate({})
    sentences = [
        f"{field}: {json.dumps(getattr(config, field))} instead of the published "
        f"{json.dumps(getattr(published, field))}."
        for field in AdemConfig.model_fields
        if getattr(config, field) != getattr(published, field)
    ]
    for name, info in context.encoders.items():
        sentences += _encoder_departures(name, info, config)
    if len(context.encoders) > 1:
        sentences.append(
            f"The encoders {', '.join(context.encoders)} share one memory; "
            "published is a single encoder."
        )
    return sentences


def _encoder_departures(name: str, info: EncoderInfo, config: AdemConfig) -> list[str]:
    sentences = []
    if (info.hidden_size, info.num_levels, info.grid) != (1024, 24, (16, 16)):
        grid = f"a {info.grid[0]} x {info.grid[1]} grid" if info.grid else "no fixed grid"
        sentences.append(
            f"Encoder '{name}' has {info.num_levels} blocks of width {info.hidden_size} "
            f"and {grid}; published is CLIP ViT-L/14: 24 blocks, width 1024, a 16 x 16 grid."
        )
    if info.num_items > 1:
        tokens = info.num_items * sum(height * width for height, width in config.scales)
        tables = ", told apart by item tables" if config.tables else ""
        sentences.append(
            f"The {info.num_items} items of '{name}' form one memory of {tokens} tokens{tables}; "
            "published is one image."
        )
    return sentences
