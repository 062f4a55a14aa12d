"""What the feature cache saves: training steps without it, while it fills, and from it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tqdm import tqdm

from mmadapt.bench.measure import seconds
from mmadapt.composition import compose
from mmadapt.data.build import build_source, no_training_data, training_view
from mmadapt.data.cache import MemoryCache
from mmadapt.data.collate import Collator, padding_id
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.items import Failed, Item
from mmadapt.data.loader import to_device
from mmadapt.data.views import View
from mmadapt.features.cache import FeatureCache
from mmadapt.features.memory import FeatureMemory
from mmadapt.features.refusals import refuse_inexact, refuse_recipe
from mmadapt.model import MultimodalModel
from mmadapt.recipe import ResolvedRecipe
from mmadapt.report import aligned

ALONE, CACHED, PLAIN, FILLING = (
    "LM and fusion alone",
    "from the cache",
    "without a cache",
    "filling the cache",
)


@dataclass(frozen=True)
class EpochRow:
    """Seconds of a training step; a ratio is the median of the rounds' own ratios.

    Args:
        name: of the row.
        step_seconds: median.
        ratio_to_alone: to LM and fusion, whose features lie ready.
        ratio_to_plain: to training without a cache.
    """

    name: str
    step_seconds: float
    ratio_to_alone: float
    ratio_to_plain: float

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return asdict(self)


def bench_cache(
    recipe: ResolvedRecipe,
    *,
    steps: int = 4,
    rounds: int = 5,
    allow_code: bool = False,
    progress: bool = True,
) -> list[EpochRow]:
    """Times the same training steps in four ways, one after another in every round.

    Of what is prepared, memory keeps the texts alone, and the loader works in this process, so that
    each way shows its whole cost. The cache lies in a temporary folder.

    Args:
        recipe: with `data.train`.
        steps: of a round, each of `train.per_device_train_batch_size` samples.
        rounds: of which medians are taken.
        allow_code: as in `compose`.
        progress: show a bar.

    Raises:
        RecipeError: there are no training samples, or their features cannot be cached exactly.
    """
    if "train" not in recipe.sources:
        raise no_training_data(recipe.recipe)
    refuse_recipe(recipe.recipe)
    model = compose(recipe, allow_code=allow_code).place()
    refuse_inexact(model, recipe.recipe)
    model.train()
    bench = _Bench(recipe, model, steps)
    times: dict[str, list[float]] = {name: [] for name in (ALONE, CACHED, PLAIN, FILLING)}
    with TemporaryDirectory(prefix="mmadapt-bench-") as scratch:
        filled = Path(scratch) / "filled"
        with bench.steps(filled) as work:
            work()  # fills it, and warms up
        for number in tqdm(range(rounds), "rounds", disable=not progress):
            ways: dict[str, Callable[[], Any]] = {
                ALONE: lambda: bench.steps(filled, ready=True, rests=True),
                CACHED: lambda: bench.steps(filled, rests=True),
                PLAIN: lambda: bench.steps(None),
                FILLING: lambda n=number: bench.steps(Path(scratch) / str(n)),  # type: ignore[misc]
            }
            for name, made in ways.items():
                with made() as work:
                    times[name].append(seconds(work, model.device) / steps)
    return [
        EpochRow(name, median(own), _ratio(own, times[ALONE]), _ratio(own, times[PLAIN]))
        for name, own in times.items()
    ]


class _Texts(MemoryCache):
    """Keeps texts, as later epochs find them, and nothing of media."""

    def put(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keeps a value if it is a text."""
        if isinstance(value, Item):
            super().put(key, value, nbytes)


@dataclass
class _Bench:
    """The same few batches, prepared anew each time."""

    recipe: ResolvedRecipe
    model: MultimodalModel
    count: int
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.trainable_parameters().values(), lr=1e-6)
        source = build_source(self.recipe.sources["train"], self.recipe.recipe.data)
        self.size = int(self.recipe.recipe.train.arguments.get("per_device_train_batch_size", 8))
        view = training_view(source)
        self.source = View(view, range(min(len(view), self.count * self.size)))
        self.collate = Collator(padding_id(self.model.require_tokenizer()))

    @contextmanager
    def steps(
        self, folder: Path | None, *, ready: bool = False, rests: bool = False
    ) -> Iterator[Callable[[], None]]:
        """A function that trains on all batches.

        Args:
            folder: of a cache; None trains without.
            ready: batches lie on the device, with features in place of media.
            rests: all features are there, so that encoders have left the GPU, as in an epoch, where
                only the first batch waits for that.
        """
        disk = None
        if folder is not None:
            disk = FeatureCache(self.model, self.recipe.recipe.data, folder=folder)
        dataset = MediaDataset(
            self.source,
            self.model.head,
            self.model.require_tokenizer(),
            self.model.processors,
            training=True,
            cache=_Texts(features=None if disk is None else disk.reader),
        )
        dataset.lengths({})  # makes the texts
        prepared = [self._batch(dataset, number) for number in range(self.count)] if ready else None

        def work() -> None:
            for number in range(self.count):
                self._step(prepared[number] if prepared else self._batch(dataset, number))

        with FeatureMemory(self.model, 0, disk).used() as memory:
            if rests:
                memory.rest()
            yield work

    def _batch(self, dataset: MediaDataset, number: int) -> dict[str, Any]:
        places = range(number * self.size, (number + 1) * self.size)
        items = [dataset[place % len(dataset)] for place in places]
        for item in items:
            if isinstance(item, Failed):
                raise item.error
        return to_device(self.collate(items), self.model.device)

    def _step(self, batch: dict[str, Any]) -> None:
        loss: Any = self.model(**batch).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def _ratio(one: list[float], other: list[float]) -> float:
    return median(a / b for a, b in zip(one, other, strict=True))


def epoch_table(rows: list[EpochRow]) -> str:
    """The rows as text."""
    lines = [["training steps", "step s", "/alone", "/without"]]
    lines += [
        [r.name, f"{r.step_seconds:.4f}", f"{r.ratio_to_alone:.3f}", f"{r.ratio_to_plain:.3f}"]
        for r in rows
    ]
    return aligned(lines)
