"""What a configuration needs of the encoders, and how it differs from the published one."""

from __future__ import annotations

from mmadapt.contracts import EncoderInfo, FusionContext
from mmadapt.errors import RecipeError
from mmadapt_epalm.config import EpalmConfig
from mmadapt_epalm.schedule import PUBLISHED_DEPTH, PUBLISHED_LEVELS, PUBLISHED_START, Schedule

PUBLISHED_PROMPT = 10


def check_context(config: EpalmConfig, context: FusionContext) -> None:
    """Compares what the options ask for with what the encoders give.

    Raises:
        RecipeError: no encoder, no CLS, or fewer levels than asked for.
    """
    if not context.encoders:
        raise RecipeError(f"fusion '{context.name}': serves no encoder; name one under encoders:")
    for encoder, info in context.encoders.items():
        if config.pool == "cls" and info.num_prefix_tokens == 0:
            raise RecipeError(
                f"fusion '{context.name}': pool: cls needs a CLS token, which encoder '{encoder}' "
                "does not have; set pool: mean"
            )
        if config.levels is not None and config.levels > info.num_levels:
            raise RecipeError(
                f"fusion '{context.name}': levels: {config.levels}, but encoder '{encoder}' has "
                f"only {info.num_levels} blocks; set levels: {info.num_levels} or fewer"
            )


def departures(config: EpalmConfig, context: FusionContext, schedule: Schedule) -> list[str]:
    """One sentence for each way in which `config` on this LM is not the published method."""
    found = [
        *_mode_departures(config),
        *_layer_departures(config, context, schedule),
        *_prompt_departures(config),
    ]
    for name, info in context.encoders.items():
        found += _encoder_departures(name, info, config)
    if len(context.encoders) > 1:
        found.append(
            f"The encoders {', '.join(context.encoders)} have a slot each; "
            "published is a single encoder."
        )
    return found


def _mode_departures(config: EpalmConfig) -> list[str]:
    if config.mode == "published":
        return []
    return [
        "The media slot sees only itself and what stands before it; in the published code it sees "
        "all tokens, later ones too, which leaks them to earlier ones (mode: published)."
    ]


def _layer_departures(config: EpalmConfig, context: FusionContext, schedule: Schedule) -> list[str]:
    found = []
    if schedule.num_levels != PUBLISHED_LEVELS:
        found.append(f"levels: {schedule.num_levels} instead of the published {PUBLISHED_LEVELS}.")
    start = context.num_layers * PUBLISHED_START // PUBLISHED_DEPTH
    if (schedule.start, schedule.end) != (start, context.num_layers - 1):
        found.append(
            f"Media enter layers {schedule.start} to {schedule.end - 1} of {context.num_layers}; "
            f"published are layers {PUBLISHED_START} to {PUBLISHED_DEPTH - 2} of "
            f"{PUBLISHED_DEPTH}, all but the last."
        )
    if config.interval != 1:
        found.append(f"Media enter only layers divisible by {config.interval}; published all.")
    return found


def _prompt_departures(config: EpalmConfig) -> list[str]:
    found = []
    if config.prompt_length != PUBLISHED_PROMPT:
        found.append(
            f"prompt_length: {config.prompt_length} instead of the {PUBLISHED_PROMPT} of every "
            "released configuration (the paper's abstract says one)."
        )
    if config.prompt_length and config.prompt_mlp != (config.connectors == "separate"):
        found.append(
            "Published are separate connectors with prompt_mlp: true, or a shared connector with "
            "prompt_mlp: false."
        )
    if config.prompt_length and config.prompt_at == "start":
        found.append(
            "The soft prompt enters at the first layer that media enter; published: at the input."
        )
    return found


def _encoder_departures(name: str, info: EncoderInfo, config: EpalmConfig) -> list[str]:
    found = []
    if config.pool != "cls":
        found.append(f"Levels of '{name}' are averaged over their tokens; published is their CLS.")
    if info.num_items > 1:
        what = "averaged into one slot" if config.slots == "mean" else "given a slot each"
        found.append(
            f"The {info.num_items} items of '{name}' are {what}; published is one CLS for a clip "
            "(TimeSformer)."
        )
    return found
