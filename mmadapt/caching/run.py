"""Fills the cache for a recipe: looks, estimates, refuses what does not fit, then encodes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from mmadapt.caching.encoders import encoders_alone
from mmadapt.caching.plan import Plan, plan_split
from mmadapt.contracts import Source
from mmadapt.data.build import build_source
from mmadapt.data.cache import MemoryCache
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.features.entry import entry_bytes
from mmadapt.data.features.folder import used_bytes
from mmadapt.data.features.store import RESERVE
from mmadapt.data.loader import batches, to_device
from mmadapt.data.quarantine import Quarantine
from mmadapt.data.views import View
from mmadapt.errors import MMAdaptError, RecipeError
from mmadapt.features.cache import FeatureCache, feature_cache, mixed_precision
from mmadapt.features.memory import FeatureMemory
from mmadapt.features.refusals import refuse_recipe
from mmadapt.recipe import ResolvedRecipe

_MEASURED = 4  # samples whose size stands for all
GIB = 1024**3


@dataclass
class Filled:
    """What was done.

    Args:
        folder: of the cache.
        estimated_bytes: of what was missing, before anything was written.
        added: entries written.
        present: sets of media, by split, that were there before.
        uncached: samples, by split, whose media are values in memory.
        unreadable: samples, by split, that cannot be read.
    """

    folder: Path
    estimated_bytes: int = 0
    added: int = 0
    present: dict[str, int] = field(default_factory=dict)
    uncached: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)


def fill_cache(
    recipe: ResolvedRecipe,
    splits: Sequence[str] | None = None,
    *,
    allow_code: bool = False,
    quiet: bool = False,
) -> Filled:
    """Computes what the fusions of a recipe read of its media, and keeps it on disk.

    The LM's weights are not loaded. What is there already is not computed again, so a run that was
    ended in the middle goes on where it was.

    Args:
        recipe: with or without `data.cache`.
        splits: of the recipe's data; default: all.
        allow_code: as in `compose`.
        quiet: no progress bars and no notices on stderr.

    Raises:
        RecipeError: features cannot be cached exactly, or there is no such split.
        MMAdaptError: the disk or the limit does not suffice, or too many files cannot be read.

    Example:
        >>> from mmadapt.recipe import load_and_resolve
        >>> recipe = load_and_resolve("recipes/video_caption_adem.yaml")
        >>> fill_cache(recipe).added  # doctest: +SKIP
        1200
    """
    refuse_recipe(recipe.recipe)
    known = list(recipe.sources)
    if unknown := [name for name in splits or () if name not in known]:
        raise RecipeError(f"data has no split '{unknown[0]}'; it has {', '.join(known) or 'none'}")
    sources = {
        name: _counted(name, build_source(part, recipe.recipe.data))
        for name, part in recipe.sources.items()
        if splits is None or name in splits
    }
    model = encoders_alone(recipe, allow_code)
    disk = feature_cache(model, recipe.recipe, wanted=True)
    assert disk is not None
    modalities = {name: modality for name, (modality, _) in model.processors.items()}
    plans = [
        plan_split(name, source, disk.reader, modalities, progress=not quiet)
        for name, source in sources.items()
    ]
    result = Filled(disk.store.folder)
    work = _Work(recipe, model, disk, quiet)
    result.estimated_bytes = sum(map(work.estimated_bytes, plans))
    _say_and_refuse(plans, result, disk, quiet)
    with FeatureMemory(model, 0, disk).used():
        for plan in plans:
            result.present[plan.split] = plan.present
            result.uncached[plan.split] = plan.uncached
            result.unreadable[plan.split] = work.fill(plan)
    result.added = disk.store.added
    if disk.store.is_closed:
        raise MMAdaptError("the cache is not complete; see above")
    return result


@dataclass
class _Work:
    """Encoding of samples, a split at a time."""

    recipe: ResolvedRecipe
    model: Any
    disk: FeatureCache
    quiet: bool

    def estimated_bytes(self, plan: Plan) -> int:
        """Size of what is missing, from some samples that are encoded and not kept."""
        if not plan.missing:
            return 0
        places = np.linspace(0, len(plan.missing) - 1, _MEASURED).astype(int)
        chosen = sorted({plan.missing[place] for place in places})
        sizes = []
        memory = FeatureMemory(self.model, 0)
        for _, batch in batches(self._dataset(plan, chosen, reads=False), 1, workers=0):
            if "media" not in batch:
                continue
            with self._precision(plan.split):
                found = memory.encode(to_device(batch["media"], self._device))
            features = [given for by_encoder in found.values() for given in by_encoder.values()]
            sizes.append(sum(len(entry_bytes(one, (), self.disk.dtype)) for one in features))
        return int(np.mean(sizes) * len(plan.missing)) if sizes else 0

    def fill(self, plan: Plan) -> int:
        """Encodes what is missing; returns the number of samples that cannot be read."""
        share = self.recipe.recipe.data.max_bad_share
        watch = Quarantine(None, share).watch(plan.split, len(plan.source))
        size = self.recipe.recipe.evaluate.batch_size
        bar = tqdm(
            total=len(plan.missing), desc=plan.split, unit="sample", disable=self._hides(plan)
        )
        with bar:
            for indices, batch in batches(self._dataset(plan, plan.missing), size):
                watch.add(batch.pop("failed", ()))
                if "media" in batch:
                    with self._precision(plan.split), torch.no_grad():
                        self.model.encode(to_device(batch["media"], self._device))
                bar.update(len(indices))
                if self.disk.store.is_closed:
                    break
        return len(watch.bad)

    def _hides(self, plan: Plan) -> bool:
        return self.quiet or not plan.missing

    @property
    def _device(self) -> torch.device:
        return next(self.model.encoders.parameters(), torch.empty(0)).device

    def _dataset(self, plan: Plan, indices: Sequence[int], *, reads: bool = True) -> MediaDataset:
        return MediaDataset(
            View(plan.source, indices),
            self.model.head,
            self.model.require_tokenizer(),
            self.model.processors,
            training=plan.split == "train",
            cache=MemoryCache(0, self.disk.reader if reads else None),
        )

    def _precision(self, split: str) -> AbstractContextManager[Any]:
        mixed = mixed_precision(self.recipe.recipe.train.arguments)
        if split != "train" or mixed is None:
            return nullcontext()
        return torch.autocast(self._device.type, mixed)


def _counted(split: str, source: Any) -> Source:
    if not isinstance(source, Source):
        raise RecipeError(
            f"data.{split} is streamed, so its samples are not known ahead; train with "
            "data.cache=true, which fills the cache in the first epoch"
        )
    return source


def _say_and_refuse(plans: Sequence[Plan], result: Filled, disk: FeatureCache, quiet: bool) -> None:
    """Prints the estimate; refuses what the limit or the disk does not allow."""
    folder, needed = disk.store.folder, result.estimated_bytes
    used, free = used_bytes(folder), shutil.disk_usage(folder).free
    counts: Mapping[str, int] = {plan.split: len(plan.missing) for plan in plans}
    if not quiet:
        told = ", ".join(
            f"{plan.split} {counts[plan.split]} (and {plan.present} there)" for plan in plans
        )
        print(
            f"to encode: {told}\nabout {_size(needed)} in {folder}, which holds {_size(used)}; "
            f"{_size(free)} of the disk are free",
            file=sys.stderr,
            flush=True,
        )
    if used + needed > disk.store.limit:
        raise MMAdaptError(
            f"{folder}: {_size(needed)} more would pass its limit of {_size(disk.store.limit)} "
            "(data.cache_gib); raise it, make room with `mmadapt cache --prune`, or keep less "
            "with data.cache_dtype=bfloat16"
        )
    if needed and needed + RESERVE > free:
        raise MMAdaptError(
            f"{folder}: {_size(needed)} more do not fit on the disk, of which {_size(RESERVE)} are "
            "left free; set MMADAPT_CACHE to a folder on another disk"
        )


def _size(nbytes: int) -> str:
    return f"{nbytes / GIB:,.2f} GiB" if nbytes >= GIB else f"{nbytes / 2**20:,.1f} MiB"
