"""The cache of a model's features on disk: which sets it has, and what it refuses.

A set is named by everything that its features follow from: the encoder's weights, options and code,
its processor's settings and code, the levels, what the fusion's `reduce` depends on, the types of
computation and of storage, the kind of device, and the versions of the packages that decode and
compute. So
recipes that agree in these share their features, and a change of any of them never meets old ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from mmadapt.contracts import Encoder, Fusion
from mmadapt.data.features.contents import Contents
from mmadapt.data.features.entry import rounded
from mmadapt.data.features.folder import CONTENTS, cache_folder
from mmadapt.data.features.reader import FeatureReader
from mmadapt.data.features.rows import Row
from mmadapt.data.features.store import FeatureStore
from mmadapt.features.sets import about_set
from mmadapt.model import MultimodalModel

if TYPE_CHECKING:
    from mmadapt.recipe import DataConfig, Recipe

GIBIBYTE = 1024**3


class FeatureCache:
    """Keeps and finds what the fusions of a model read of its frozen encoders.

    Args:
        model: composed; its encoders may move to another device before the first sample.
        data: the recipe's block: type of storage and limit.
        mixed: type of mixed precision in training; None without.
        folder: of the cache; default: the one that all recipes share.

    Raises:
        MMAdaptError: the folder cannot be written.
    """

    def __init__(
        self,
        model: MultimodalModel,
        data: DataConfig,
        mixed: torch.dtype | None = None,
        folder: Path | None = None,
    ) -> None:
        self.model = model
        self.dtype = None if data.cache_dtype is None else getattr(torch, data.cache_dtype)
        folder = folder or cache_folder()
        self.store = FeatureStore(folder, int(data.cache_gib * GIBIBYTE))
        self._names: dict[tuple[str, str, torch.dtype | None], str] = {}
        self._weights: dict[tuple[str, int], str] = {}
        self.reader = FeatureReader(
            self.store, Contents(folder / CONTENTS), self._sets(mixed), self._sets(None)
        )

    def keep(self, encoder: str, content: str, row: Row, item: Tensor) -> tuple[Row, bool]:
        """Adds a sample's features.

        Args:
            encoder: which read the sample's media.
            content: their name.
            row: by fusion.
            item: (t,) the files that the encoder's items belong to, -1 at padding.

        Returns:
            The features as they come back from the cache, and whether they are in it.
        """
        files = item[item >= 0].tolist()
        counts = [files.count(file) for file in dict.fromkeys(files)]
        mixed = _autocast(item.device)
        kept = [
            self.store.put(self._name(encoder, fusion, mixed), content, given, counts, self.dtype)
            for fusion, given in row.items()
        ]
        return {fusion: rounded(given, self.dtype) for fusion, given in row.items()}, all(kept)

    def _sets(self, mixed: torch.dtype | None) -> dict[str, dict[str, str]]:
        return {
            encoder: {
                fusion: self._name(encoder, fusion, mixed)
                for fusion, served in self.model.served.items()
                if encoder in served
            }
            for encoder in self.model.encoders
        }

    def _name(self, encoder: str, fusion: str, mixed: torch.dtype | None) -> str:
        """The name of a set; it is opened when it is first asked for."""
        key = (encoder, fusion, mixed)
        if key not in self._names:
            own = cast(Encoder, self.model.encoders[encoder])
            about = about_set(own, cast(Fusion, self.model.fusions[fusion]), self._weights, encoder)
            about["computed"] |= {"mixed_precision": None if mixed is None else str(mixed)}
            about["computed"] |= {"device": _device(own).type}
            about["stored"] = None if self.dtype is None else str(self.dtype)
            text = json.dumps(about, sort_keys=True)
            name = hashlib.sha256(text.encode()).hexdigest()[:20]
            self.store.open_set(name, about)
            self._names[key] = name
        return self._names[key]

    def close(self) -> None:
        """Writes the hashes of media that are new."""
        self.reader.contents.save()


def _device(encoder: Encoder) -> torch.device:
    return next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))


def _autocast(device: torch.device) -> torch.dtype | None:
    if not torch.is_autocast_enabled(device.type):
        return None
    return torch.get_autocast_dtype(device.type)


def feature_cache(
    model: MultimodalModel, recipe: Recipe, wanted: bool | None = None
) -> FeatureCache | None:
    """The cache that a recipe asks for by `data.cache`, else None.

    Args:
        model: composed from the recipe, on its device.
        recipe: the recipe.
        wanted: in place of `data.cache`.

    Raises:
        RecipeError: features of this model cannot be cached exactly.
        MMAdaptError: the folder cannot be written.
    """
    if not (recipe.data.cache if wanted is None else wanted):
        return None
    from mmadapt.features.refusals import refuse_inexact, refuse_recipe

    refuse_recipe(recipe)
    refuse_inexact(model, recipe)
    return FeatureCache(model, recipe.data, mixed_precision(recipe.train.arguments))


def mixed_precision(arguments: Mapping[str, Any]) -> torch.dtype | None:
    """The type that the `train` block asks autocast to compute in."""
    if arguments.get("bf16"):
        return torch.bfloat16
    return torch.float16 if arguments.get("fp16") else None
