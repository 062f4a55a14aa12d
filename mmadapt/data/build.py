"""From the parts of a recipe's `data` to sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmadapt.contracts import Source, StreamedSource
from mmadapt.data.mixture import Mixture
from mmadapt.data.spooled import Spooled
from mmadapt.data.streams import Counted, StreamedMixture
from mmadapt.data.views import EachReference, WithSound, with_sound
from mmadapt.errors import RecipeError
from mmadapt.recipe import DataConfig, Recipe, ResolvedPart
from mmadapt.types import Sample

_STRATEGIES = ("eval_strategy", "save_strategy", "logging_strategy")


def build_source(part: ResolvedPart, data: DataConfig) -> Source:
    """Builds the source of a split to be read by number; what it streams is kept as it is read.

    Args:
        part: of `ResolvedRecipe.sources`.
        data: the recipe's block, whose options hold for every split.

    Raises:
        MMAdaptError: a source cannot be built.
    """
    source = build_training_source(part, data)
    return source if isinstance(source, Source) else Spooled(source)


def build_training_source(part: ResolvedPart, data: DataConfig) -> Source | StreamedSource:
    """Builds the source of a split, a mixture where the recipe lists several.

    Args:
        part: of `ResolvedRecipe.sources`.
        data: the recipe's block, whose options hold for every split.

    Raises:
        MMAdaptError: a source cannot be built, or streamed ones are mixed without weights.
    """
    if part.parts:
        sources = [build_training_source(one, data) for one in part.parts]
        counted = [source for source in sources if isinstance(source, Source)]
        if len(counted) == len(sources):
            return Mixture(counted, part.weights)
        return StreamedMixture(sources, part.weights)
    source = part.cls.build(part.config)
    if not data.audio_from_video:
        return source
    return WithSound(source) if isinstance(source, Source) else StreamedWithSound(source)


class StreamedWithSound(StreamedSource):
    """As `WithSound`, of a streamed source."""

    def __init__(self, source: StreamedSource) -> None:
        super().__init__(source.config)
        self.source, self.length = source, source.length

    @property
    def shards(self) -> Sequence[str]:
        """Those of the source."""
        return self.source.shards

    def read(self, shard: int) -> Iterator[Any]:
        """The records of the source."""
        return self.source.read(shard)

    def sample(self, record: Any) -> Sample:
        """The sample of a record, with the sound tracks of its clips."""
        return with_sound(self.source.sample(record))


def training_view(source: Source) -> Source:
    """Every caption a sample of its own; the weights of a mixture stay with its parts."""
    if isinstance(source, Mixture):
        return Mixture([training_view(part) for part in source.sources], source.weights)
    return EachReference(source)


def streamed_view(source: StreamedSource) -> StreamedSource:
    """As `training_view`, for those parts of a streamed mixture that can be counted."""
    if not isinstance(source, StreamedMixture):
        return source
    parts = [
        Counted(training_view(part.source)) if isinstance(part, Counted) else part
        for part in source.sources
    ]
    return StreamedMixture(parts, source.weights)


def no_training_data(recipe: Recipe) -> RecipeError:
    """The error of a recipe that is to be trained and names no training data."""
    reason = "data.train is missing; name the source of the training samples"
    return RecipeError([recipe.problem(("data",), reason)])


def refuse_stream(recipe: Recipe, source: Source | StreamedSource) -> None:
    """Refuses what a training on streamed samples cannot do.

    Raises:
        RecipeError: with what to write instead.
    """
    if isinstance(source, Source):
        return
    keys = recipe.train.arguments
    if int(keys.get("max_steps", -1)) <= 0:
        raise RecipeError(
            "train.max_steps is missing: data.train is streamed, so nothing says where an epoch "
            "ends; give the number of optimiser steps, or leave out `streaming: true`"
        )
    if keys.get("train_sampling_strategy") == "group_by_length":
        raise RecipeError(
            "train.train_sampling_strategy: group_by_length compares all samples before training, "
            "and data.train is streamed; use random or sequential, or leave out `streaming: true`"
        )
    for key in _STRATEGIES:
        if keys.get(key) == "epoch":
            raise RecipeError(
                f"train.{key}: epoch cannot be told where data.train is streamed; use steps"
            )
