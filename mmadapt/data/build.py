"""From the parts of a recipe's `data` to sources."""

from __future__ import annotations

from mmadapt.contracts import Source
from mmadapt.data.mixture import Mixture
from mmadapt.data.views import EachReference, WithSound
from mmadapt.recipe import DataConfig, ResolvedPart


def build_source(part: ResolvedPart, data: DataConfig) -> Source:
    """Builds the source of a split, a mixture where the recipe lists several.

    Args:
        part: of `ResolvedRecipe.sources`.
        data: the recipe's block, whose options hold for every split.

    Raises:
        MMAdaptError: a source cannot be built.
    """
    if part.parts:
        sources = [build_source(one, data) for one in part.parts]
        return Mixture(sources, part.weights)
    source: Source = part.cls(part.config)
    return WithSound(source) if data.audio_from_video else source


def training_view(source: Source) -> Source:
    """Every caption a sample of its own; the weights of a mixture stay with its parts."""
    if isinstance(source, Mixture):
        return Mixture([training_view(part) for part in source.sources], source.weights)
    return EachReference(source)
