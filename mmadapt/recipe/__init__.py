"""Recipes: the YAML files that say what to build, with errors that say where."""

from mmadapt.recipe.check import ResolvedRecipe, load_and_resolve, resolve
from mmadapt.recipe.load import load_recipe
from mmadapt.recipe.parts import ResolvedPart
from mmadapt.recipe.schema import (
    DataConfig,
    EncoderPart,
    EvaluateConfig,
    FusionPart,
    LMPart,
    Part,
    Recipe,
    TrainConfig,
    Unfreeze,
)

__all__ = [
    "DataConfig",
    "EncoderPart",
    "EvaluateConfig",
    "FusionPart",
    "LMPart",
    "Part",
    "Recipe",
    "ResolvedPart",
    "ResolvedRecipe",
    "TrainConfig",
    "Unfreeze",
    "load_and_resolve",
    "load_recipe",
    "resolve",
]
