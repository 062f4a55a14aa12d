"""Which level is written into which layer of the LM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmadapt.contracts import FusionContext
from mmadapt.errors import RecipeError
from mmadapt_epalm.config import EpalmConfig

PUBLISHED_LEVELS = 6
PUBLISHED_START, PUBLISHED_DEPTH = 19, 32


@dataclass(frozen=True)
class Schedule:
    """What enters where.

    Args:
        num_levels: K, the levels read from each encoder, shallow to deep.
        start: the first layer that media enter.
        end: the layer after the last one that may be entered.
        level_at: the level (0 to K - 1) that enters a layer, for every layer entered.
    """

    num_levels: int
    start: int
    end: int
    level_at: Mapping[int, int]


def plan(config: EpalmConfig, context: FusionContext) -> Schedule:
    """Spreads K levels over the layers start to end, as the authors' code does.

    Each level serves (end - start) // K layers in a row (1 where the layers are no more than the
    levels) and the deepest all that remain; only layers divisible by `interval` are entered.

    Raises:
        RecipeError: no layer is entered, or a level would never be read.

    Example:
        >>> context = FusionContext("epalm", 2560, 2560, 32, 32, {})
        >>> plan(EpalmConfig(levels=3, start=19, end=31), context).level_at[27]
        2
    """
    depth = context.num_layers
    start = depth * PUBLISHED_START // PUBLISHED_DEPTH if config.start is None else config.start
    end = (depth if config.mode == "causal" else depth - 1) if config.end is None else config.end
    entered = [i for i in range(start, end) if i % config.interval == 0]
    if end > depth or not entered:
        raise RecipeError(
            f"fusion '{context.name}': start: {start}, end: {end} and interval: {config.interval} "
            f"enter {'layers that the LM does not have' if end > depth else 'no layer'}; the LM "
            f"has {depth} layers (0 to {depth - 1}), and end is the layer after the last one"
        )
    if config.levels is not None:
        found = _spread(config.levels, start, end, entered)
        unread = sorted(set(range(config.levels)) - set(found.values()))
        if unread:
            raise RecipeError(
                f"fusion '{context.name}': levels: {config.levels} is too many for the "
                f"{len(entered)} layers entered: of these levels, {unread} would never be read; "
                f"set levels: {_most(config.levels, start, end, entered)} or enter more layers"
            )
        return Schedule(config.levels, entered[0], end, found)
    blocks = [info.num_levels for info in context.encoders.values()]
    num_levels = _most(min([PUBLISHED_LEVELS, *blocks]), start, end, entered)
    return Schedule(num_levels, entered[0], end, _spread(num_levels, start, end, entered))


def _spread(num_levels: int, start: int, end: int, entered: list[int]) -> dict[int, int]:
    span = end - start
    step = 1 if num_levels == 1 or span <= num_levels else span // num_levels
    return {i: min((i - start) // step, num_levels - 1) for i in entered}


def _most(limit: int, start: int, end: int, entered: list[int]) -> int:
    """The largest number of levels up to `limit` that are all read; one always is."""
    for num_levels in range(limit, 1, -1):
        if len(set(_spread(num_levels, start, end, entered).values())) == num_levels:
            return num_levels
    return 1
