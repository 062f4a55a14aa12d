"""Answering samples in batches, with the same answers for every batch size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmadapt.data.collate import Collator, padding_id
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.items import Failed
from mmadapt.data.loader import batches, to_device
from mmadapt.generation.answers import answers_and_margins
from mmadapt.generation.margins import is_greedy, rounding

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel


@dataclass
class Answering:
    """Answers the samples of a dataset.

    Rounding errors of a batch depend on its size, so an answer that hangs on less than them is
    computed again alone, its media encoded anew; with `data.cache` its features are those on disk,
    which are the same in every batch once they are there. What is sampled, or searched with beams,
    cannot be checked like this and is computed alone to begin with.

    Args:
        model: a composed model with its head and tokenizer.
        dataset: prompts and media.
        options: keys of `transformers.GenerationConfig`.
        batch_size: samples at once.
        seed: of sampled answers: each is drawn from (seed, number of the sample).
        exact: off: answers are taken as the batch gives them.

    Attributes:
        alone: how many answers were computed again.
    """

    model: MultimodalModel
    dataset: MediaDataset
    options: dict[str, Any]
    batch_size: int = 32
    seed: int = 0
    exact: bool = True
    alone: int = field(default=0, init=False)

    def __call__(self, numbers: Sequence[int]) -> Iterator[tuple[dict[int, str], Sequence[Failed]]]:
        """Yields, batch by batch, the answers by place in the dataset, and the samples that failed.

        Args:
            numbers: of the samples, by their place in the dataset.
        """
        sampled = bool(self.options.get("do_sample"))
        by_one = sampled or (self.exact and not is_greedy(self.model.lm, self.options))
        self._rounding = rounding(self.model) if self.exact and not by_one else 0.0
        for places, batch in batches(self.dataset, 1 if by_one else self.batch_size):
            failed = batch.pop("failed", ())
            key = [self.seed, *(numbers[place] for place in places)] if sampled else None
            with seeded(key):
                yield self._answers(places, batch), failed

    @torch.no_grad()
    def _answers(self, places: Sequence[int], batch: dict[str, Any]) -> dict[int, str]:
        if not places:
            return {}
        answers, margins = self._computed(places, batch)
        for row, place in enumerate(places):
            if margins[row] < self._rounding:
                self.alone += 1
                [answers[row]], _ = self._computed([place], self._collated(place))
        return dict(zip(places, answers, strict=True))

    def _computed(
        self, places: Sequence[int], batch: dict[str, Any]
    ) -> tuple[list[str], list[float]]:
        samples = [self.dataset.source[place] for place in places]
        return answers_and_margins(
            self.model, samples, to_device(batch, self.model.device), self.options
        )

    def _collated(self, place: int) -> dict[str, Any]:
        """A batch of one, encoded whatever memory holds of its media; from disk where it is."""
        item = self.dataset[place]
        if isinstance(item, Failed):
            raise item.error
        batch = Collator(padding_id(self.dataset.tokenizer), with_labels=False)([item])
        batch.pop("failed", None)
        for inputs in batch["media"].values():
            inputs.pop("keys", None)
        return batch


@contextmanager
def seeded(key: Sequence[int] | None) -> Iterator[None]:
    """Draws torch's random numbers from a seed inside the block; None leaves them as they are."""
    if key is None:
        yield
        return
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(np.random.SeedSequence(list(key)).generate_state(1)[0]))
        yield
