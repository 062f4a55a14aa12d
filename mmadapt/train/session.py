"""What a run holds while it lasts: data, model, folder, clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import set_seed

from mmadapt.composition import compose
from mmadapt.contracts import Source
from mmadapt.data.cache import GIBIBYTE, MemoryCache
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.views import EachReference
from mmadapt.errors import RecipeError
from mmadapt.feature_memory import FeatureMemory
from mmadapt.model import MultimodalModel
from mmadapt.recipe import Recipe, ResolvedRecipe
from mmadapt.train.folder import RunFolder

DEFAULT_SEED = 42  # of transformers.TrainingArguments
KEPT_BYTES = GIBIBYTE // 2  # of processed media, and as much of features


@dataclass
class Session:
    """One run while it lasts.

    Args:
        resolved: the recipe with its classes.
        folder: where results go.
        model: what is trained.
        sources: by split.
        cache: processed media, shared by everything that reads them.
        features: what frozen encoders said, likewise.
        initial: the adapter's weights before training.
        quiet: show no progress bars.
        seconds: by phase.
    """

    resolved: ResolvedRecipe
    folder: RunFolder
    model: MultimodalModel
    sources: dict[str, Source]
    cache: MemoryCache
    features: FeatureMemory
    initial: dict[str, Tensor]
    quiet: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.resolved.recipe

    @property
    def seed(self) -> int:
        """Of everything random in the run."""
        return seed_of(self.recipe)

    def bar(self, description: str) -> str | None:
        """A progress bar's description, or None where none is wanted."""
        hidden = self.quiet or self.recipe.train.arguments.get("disable_tqdm")
        return None if hidden else description

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds the seconds of a block to a phase."""
        started = time.perf_counter()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started

    def samples(self, split: str, **changes: Any) -> MediaDataset:
        """The training view of a split: every caption a sample of its own.

        Args:
            split: of the recipe's data.
            changes: arguments of `MediaDataset` to replace.
        """
        data = self.recipe.data
        config = self.model.lm.config.get_text_config()
        options: dict[str, Any] = {
            "training": True,
            "seed": self.seed,
            "augment": data.augment,
            "cache": self.cache,
            "substitute": data.max_bad_share > 0,
            "max_length": getattr(config, "max_position_embeddings", None),
        }
        return MediaDataset(
            EachReference(self.sources[split]),
            self.model.head,
            self.model.require_tokenizer(),
            self.model.processors,
            **{**options, **changes},
        )


def seed_of(recipe: Recipe) -> int:
    """The seed of a recipe."""
    return int(recipe.train.arguments.get("seed", DEFAULT_SEED))


def start(resolved: ResolvedRecipe, folder: RunFolder, allow_code: bool, quiet: bool) -> Session:
    """Builds data, then the model: a mistake in the data shows before anything large is loaded.

    Raises:
        MMAdaptError: a source, a model or a part cannot be built.
    """
    began = time.perf_counter()
    sources = {name: part.cls(part.config) for name, part in resolved.sources.items()}
    for name, source in sources.items():
        if len(source) == 0:
            raise RecipeError(f"data.{name} has no samples")
        source[0]  # a source may render or download on first use
    read = time.perf_counter()
    set_seed(seed_of(resolved.recipe))
    model = compose(resolved, allow_code=allow_code)
    if torch.cuda.is_available() and getattr(model.lm, "hf_device_map", None) is None:
        model = model.to("cuda")
    initial = {name: value.clone() for name, value in model.adapter_state_dict().items()}
    seconds = {"data": read - began, "model": time.perf_counter() - read}
    return Session(
        resolved,
        folder,
        model,
        sources,
        MemoryCache(KEPT_BYTES),
        FeatureMemory(model, KEPT_BYTES),
        initial,
        quiet,
        seconds,
    )
