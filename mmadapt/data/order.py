"""The order in which training meets its samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) in an order that is a function of the seed and the epoch alone.

    The epoch travels with the index, so that workers that outlive an epoch know it, and a resumed
    run meets the same samples with the same random choices.

    Args:
        length: number of samples.
        seed: of the order.
        shuffle: a new random order in every epoch; otherwise the source's own.
    """

    def __init__(self, length: int, seed: int = 0, *, shuffle: bool = True) -> None:
        self.length, self.seed, self.shuffle, self.epoch = length, seed, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        """The trainer calls this before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        return ((self.epoch, index) for index in order.tolist())
