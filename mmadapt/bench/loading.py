"""How fast a recipe's data come, and how long its training waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from mmadapt.bench.stages import COLLATE, REST, STAGES, Stages, clocked
from mmadapt.data.build import no_training_data
from mmadapt.data.cache import MemoryCache
from mmadapt.data.loader import training_workers
from mmadapt.features.memory import FeatureMemory
from mmadapt.recipe import ResolvedRecipe
from mmadapt.report import aligned
from mmadapt.train.arguments import training_arguments
from mmadapt.train.folder import RunFolder
from mmadapt.train.session import KEPT_BYTES, Session, start
from mmadapt.train.trainer import AdapterTrainer

WARM = 2  # steps before anything counts
FEWEST = 3  # batches of a first pass beside these, for a number to mean anything
_TOO_LITTLE = (
    f"too little data to measure the loader: a pass should have {WARM + FEWEST} batches, for "
    "what was read once comes from memory; give more samples, or a smaller "
    "per_device_train_batch_size"
)
_SHORT = {  # of the recipe's training: nothing but its steps
    "save_strategy": "no",
    "eval_strategy": "no",
    "logging_strategy": "no",
    "load_best_model_at_end": False,
    "report_to": "none",
    "disable_tqdm": True,
}


@dataclass(frozen=True)
class LoadingRow:
    """One number of loader workers.

    Args:
        workers: of the loader; 0 loads in the process that trains.
        samples_per_second: of the loader alone; None where one pass has too few batches to tell.
        step_seconds: of training, waiting included.
        waiting: share of it that the training waits for its next batch.
    """

    workers: int
    samples_per_second: float | None
    step_seconds: float
    waiting: float


@dataclass(frozen=True)
class Loading:
    """How fast data come.

    Args:
        name: of the recipe.
        batch_size: samples of a batch.
        steps: that were measured.
        bytes_per_sample: of encoded media.
        items_per_sample: frames, pictures and segments.
        shares: what preparing a batch in one process is spent on, by stage.
        chosen_workers: what training uses unless the recipe says otherwise.
        rows: by number of workers.
    """

    name: str
    batch_size: int
    steps: int
    bytes_per_sample: float
    items_per_sample: float
    shares: dict[str, float]
    chosen_workers: int
    rows: list[LoadingRow]

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return asdict(self)


def bench_data(
    recipe: ResolvedRecipe,
    *,
    workers: Sequence[int] = (),
    steps: int = 7,
    allow_code: bool = False,
) -> Loading:
    """Measures the loader of a recipe alone, and beside the training that it feeds.

    Every measurement begins with nothing kept in memory, as a first epoch does, and reads the same
    first samples; the first of all may find files that the system has not read before. The adapter
    trains meanwhile, and is thrown away; a feature cache on disk is left out.

    Args:
        recipe: with `data.train`.
        workers: numbers of loader workers; default: what training would use.
        steps: of training that are measured, after two that are not.
        allow_code: as in `compose`.

    Raises:
        RecipeError: there are no training samples.
        MMAdaptError: a source, a model or a sample cannot be used.
    """
    if "train" not in recipe.sources:
        raise no_training_data(recipe.recipe)
    data = recipe.recipe.data.model_copy(update={"cache": False})
    config = recipe.recipe.train.model_copy(update={"early_stopping_patience": None})
    recipe = replace(
        recipe,
        recipe=recipe.recipe.model_copy(update={"data": data, "train": config}),
        sources={"train": recipe.sources["train"]},
        metrics=[],
    )
    with TemporaryDirectory(prefix="mmadapt-bench-") as scratch:
        folder = RunFolder(Path(scratch), recipe.recipe, False)
        session = start(recipe, folder, allow_code, quiet=True)
        chosen = training_workers(session.training_samples())
        stages, seconds = _stages(session, steps)
        count = max(1, stages.samples)
        shares = {name: stages.seconds[name] / seconds for name in STAGES}
        shares[REST] = max(0.0, 1 - sum(shares.values()))
        trainer = _trainer(session, 0, steps)
        return Loading(
            recipe.recipe.name,
            trainer.args.train_batch_size,
            steps,
            stages.media_bytes / count,
            stages.items / count,
            shares,
            chosen,
            [_row(session, number, steps) for number in workers or [chosen]],
        )


class _Timed(AdapterTrainer):
    """Notes when each step begins to wait for its batches, and for how long."""

    def get_batch_samples(self, *args: Any, **options: Any) -> Any:
        """As the trainer's own."""
        began = time.perf_counter()
        try:
            return super().get_batch_samples(*args, **options)
        finally:
            self.begun.append(began)
            self.waited.append(time.perf_counter() - began)

    def __init__(self, *args: Any, **options: Any) -> None:
        self.begun: list[float] = []
        self.waited: list[float] = []
        super().__init__(*args, **options)


def _trainer(session: Session, workers: int, steps: int) -> _Timed:
    """The recipe's training, of so many steps, with nothing kept in memory yet."""
    changes = {**_SHORT, "dataloader_num_workers": workers, "max_steps": WARM + steps + 1}
    args = training_arguments(
        session.recipe.train,
        session.folder.path,
        validates=False,
        metric=None,
        workers=workers,
        changes=changes,
    )
    dataset = session.training_samples(cache=MemoryCache(KEPT_BYTES))
    return _Timed(
        session.model,
        args,
        dataset,
        quarantine=session.quarantine,
        verify_frozen=False,
        description=None,
    )


def _stages(session: Session, steps: int) -> tuple[Stages, float]:
    """What preparing batches in this process is spent on, and its seconds."""
    trainer = _trainer(session, 0, steps)
    dataset: Any = trainer.train_dataset
    with clocked(dataset) as stages:
        trainer.data_collator = stages.clocked(COLLATE, trainer.data_collator)
        began = time.perf_counter()
        for _ in _batches(trainer, steps):
            pass
        return stages, time.perf_counter() - began


def _row(session: Session, workers: int, steps: int) -> LoadingRow:
    trainer = _trainer(session, workers, steps)
    one_pass = _one_pass(trainer, WARM + steps)
    batches = _batches(trainer, min(WARM + steps, max(one_pass, WARM + 1)))
    for _ in islice(batches, WARM if workers else 1):
        pass
    began = time.perf_counter()
    count = sum(_rows(batch) for batch in batches)
    seconds = time.perf_counter() - began
    rate = count / seconds if one_pass >= WARM + min(FEWEST, steps) else None
    trainer = _trainer(session, workers, steps)
    with _kept(session):
        trainer.train()
    begun, waited = trainer.begun[WARM:], trainer.waited[WARM:]
    lengths = [after - before for before, after in pairwise(begun)]
    waiting = sum(waited[: len(lengths)]) / sum(lengths)
    return LoadingRow(workers, rate, fmean(lengths), waiting)


@contextmanager
def _kept(session: Session) -> Iterator[None]:
    """What frozen encoders said is kept as in a training, beginning with nothing."""
    with FeatureMemory(session.model, KEPT_BYTES).used():
        yield


def _one_pass(trainer: _Timed, wanted: int) -> int:
    """Batches before anything comes again, which memory would hold then; a stream has enough."""
    try:
        return len(trainer.get_train_dataloader())
    except TypeError:
        return wanted


def _batches(trainer: _Timed, count: int) -> Iterator[dict[str, Any]]:
    """The first batches of the loader, from as many epochs as that takes."""
    loader = trainer.get_train_dataloader()
    while count > 0:
        met = 0
        for batch in islice(loader, count):
            met += 1
            trainer.watch.add(batch.pop("failed", ()))
            yield batch
        count -= max(1, met)


def _rows(batch: dict[str, Any]) -> int:
    return len(batch["input_ids"]) if "input_ids" in batch else 0


def loading_text(found: Loading) -> str:
    """What was found, as text."""
    size, items = found.bytes_per_sample / 2**20, found.items_per_sample
    spent = ", ".join(f"{name} {share:.0%}" for name, share in found.shares.items())
    lines = [["workers", "samples/s", "items/s", "MiB/s", "step s", "waiting"]]
    for row in found.rows:
        rate = row.samples_per_second
        numbers = ["-"] * 3
        if rate is not None:
            numbers = [f"{rate:.1f}", f"{rate * items:.1f}", f"{rate * size:.2f}"]
        chosen = " (chosen)" if row.workers == found.chosen_workers else ""
        lines.append(
            [f"{row.workers}{chosen}", *numbers, f"{row.step_seconds:.4f}", f"{row.waiting:.1%}"]
        )
    few = any(row.samples_per_second is None for row in found.rows)
    return (
        f"{found.name}: batches of {found.batch_size}, {items:.1f} media items and {size:.3f} MiB "
        f"of media a sample\npreparing in one process: {spent}\n{aligned(lines)}"
        + (f"\n{_TOO_LITTLE}" if few else "")
    )
