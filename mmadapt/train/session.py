"""What a run holds while it lasts: data, model, folder, clock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import set_seed

from mmadapt.adapters.start import start_folder, start_from
from mmadapt.composition import compose
from mmadapt.contracts import Source, StreamedSource
from mmadapt.data.build import (
    build_source,
    build_training_source,
    refuse_stream,
    streamed_view,
    training_view,
)
from mmadapt.data.cache import GIBIBYTE, MemoryCache
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.length import LengthLimit
from mmadapt.data.quarantine import FILE, Quarantine
from mmadapt.data.streamed import StreamedDataset
from mmadapt.errors import RecipeError
from mmadapt.evaluate.adapter import metric_builders
from mmadapt.features.cache import feature_cache
from mmadapt.features.memory import FeatureMemory
from mmadapt.features.refusals import refuse_recipe
from mmadapt.inserted import length_limit
from mmadapt.model import MultimodalModel
from mmadapt.recipe import Recipe, ResolvedRecipe
from mmadapt.train.folder import RunFolder

KEPT_BYTES = GIBIBYTE // 2  # of processed media, and as much of features


@dataclass
class Session:
    """One run while it lasts.

    Args:
        resolved: the recipe with its classes.
        folder: where results go.
        model: what is trained.
        training: what is trained on.
        sources: what is scored, by split.
        cache: processed media, shared by everything that reads them.
        features: what frozen encoders said, likewise.
        initial: the adapter's weights before training.
        quarantine: names the files that cannot be read.
        quiet: show no progress bars.
        seconds: by phase.
    """

    resolved: ResolvedRecipe
    folder: RunFolder
    model: MultimodalModel
    training: Source | StreamedSource
    sources: dict[str, Source]
    cache: MemoryCache
    features: FeatureMemory
    initial: dict[str, Tensor]
    quarantine: Quarantine = field(default_factory=Quarantine)
    quiet: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.resolved.recipe

    @property
    def seed(self) -> int:
        """Of everything random in the run."""
        return self.recipe.seed

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

    def limit(self, generate: Mapping[str, Any] | None = None) -> LengthLimit:
        """How long a sample may be, with room for the tokens that are generated."""
        reserved = int((generate or {}).get("max_new_tokens", 0 if generate is None else 1))
        return length_limit(self.model, self.recipe.data, reserved)

    def samples(self, split: str, **changes: Any) -> MediaDataset:
        """The training view of a split that is read by number: every caption a sample of its own.

        Args:
            split: of the recipe's data.
            changes: arguments of `MediaDataset` to replace.
        """
        return self._dataset(self.sources[split], **changes)

    def training_samples(self, **changes: Any) -> MediaDataset | StreamedDataset:
        """What is trained on, see `samples`; a stream of it where the recipe says so."""
        if isinstance(self.training, Source):
            return self._dataset(self.training, **changes)
        return StreamedDataset(
            streamed_view(self.training),
            self.model.head,
            self.model.require_tokenizer(),
            self.model.processors,
            buffer=self.recipe.data.shuffle_buffer,
            **{**self._options(), **changes},
        )

    def _dataset(self, source: Source, **changes: Any) -> MediaDataset:
        return MediaDataset(
            training_view(source),
            self.model.head,
            self.model.require_tokenizer(),
            self.model.processors,
            **{**self._options(), **changes},
        )

    def _options(self) -> dict[str, Any]:
        data = self.recipe.data
        return {
            "training": True,
            "seed": self.seed,
            "augment": data.augment,
            "cache": self.cache,
            "substitute": True,
            "limit": self.limit(),
        }


def _device(recipe: Recipe) -> str | None:
    """Where to train; None chooses a GPU if there is one."""
    return "cpu" if recipe.train.arguments.get("use_cpu") else None


def start(resolved: ResolvedRecipe, folder: RunFolder, allow_code: bool, quiet: bool) -> Session:
    """Builds data, then the model: a mistake in the data shows before anything large is loaded.

    Raises:
        MMAdaptError: a source, a model or a part cannot be built.
    """
    began = time.perf_counter()
    start_folder(resolved.recipe)  # a missing one shows before anything is loaded
    metric_builders(resolved)  # and so does a missing Java
    if resolved.recipe.data.cache:
        refuse_recipe(resolved.recipe)
    data = resolved.recipe.data
    training = build_training_source(resolved.sources["train"], data)
    refuse_stream(resolved.recipe, training)
    sources = {
        name: build_source(part, data) for name, part in resolved.sources.items() if name != "train"
    }
    for name, source in {"train": training, **sources}.items():
        if next(iter(source), None) is None:  # a source may render or download on first use
            raise RecipeError(f"data.{name} has no samples")
    read = time.perf_counter()
    set_seed(resolved.recipe.seed)
    model = compose(resolved, allow_code=allow_code).place(_device(resolved.recipe))
    start_from(model, resolved.recipe)
    initial = {name: value.clone() for name, value in model.adapter_state_dict().items()}
    seconds = {"data": read - began, "model": time.perf_counter() - read}
    disk = feature_cache(model, resolved.recipe)
    return Session(
        resolved,
        folder,
        model,
        training,
        sources,
        MemoryCache(KEPT_BYTES, None if disk is None else disk.reader),
        FeatureMemory(model, KEPT_BYTES, disk),
        initial,
        Quarantine(folder.path / FILE, resolved.recipe.data.max_bad_share),
        quiet,
        seconds,
    )
