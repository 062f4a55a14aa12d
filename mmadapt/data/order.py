"""The order in which training meets its samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from mmadapt.contracts import Source
from mmadapt.data.mixture import Mixture, draws

POOL = 50  # batches that are sorted together, as in transformers


@dataclass(frozen=True)
class Grouping:
    """Batches of samples of similar length, so that little is padded.

    Args:
        lengths: of every sample, known without reading media.
        batch_size: samples that are padded together.
    """

    lengths: Sequence[int]
    batch_size: int

    def arranged(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Places of `indices` (in a random order) such that batches are of similar length.

        Pools of `POOL` batches are sorted by length and cut into batches, which come in a random
        order; the first holds the longest sample, so that memory that does not suffice shows at
        once. A last batch that is not full stays the last.
        """
        size = self.batch_size
        lengths = np.asarray(self.lengths)[indices]
        batches: list[np.ndarray] = []
        for start in range(0, len(indices), POOL * size):
            pool = np.arange(start, min(start + POOL * size, len(indices)))
            pool = pool[np.argsort(-lengths[pool], kind="stable")]
            batches += [pool[k : k + size] for k in range(0, len(pool), size)]
        last = [batches.pop()] if batches and len(batches[-1]) < size else []
        order = rng.permutation(len(batches)).tolist()
        if order:
            longest = max(order, key=lambda n: lengths[batches[n]].max())
            order.remove(longest)
            order.insert(0, longest)
        return np.concatenate([*(batches[n] for n in order), *last, np.empty(0, int)]).astype(int)


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (pass, index) in an order that is a function of the seed and the epoch alone.

    The pass is the epoch, or in a mixture with weights how often the sample's part was gone through
    before. It travels with the index, so that workers that outlive an epoch know it, and a resumed
    run meets the same samples with the same random choices.

    Args:
        length: number of samples.
        seed: of the order.
        shuffle: a new random order in every epoch; otherwise the source's own.
        mixture: whose weights say which samples an epoch has; default: each once.
        grouping: samples of similar length in one batch.
    """

    def __init__(
        self,
        length: int,
        seed: int = 0,
        *,
        shuffle: bool = True,
        mixture: Mixture | None = None,
        grouping: Grouping | None = None,
    ) -> None:
        self.length, self.seed, self.shuffle, self.epoch = length, seed, shuffle, 0
        self.mixture, self.grouping = mixture, grouping

    def set_epoch(self, epoch: int) -> None:
        """The trainer calls this before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if self.mixture is None:
            passes, indices = np.full(self.length, self.epoch), np.arange(self.length)
        else:
            passes, indices = draws(self.mixture, self.seed, self.epoch, shuffle=self.shuffle)
        if self.shuffle:
            rng = np.random.default_rng([self.seed, self.epoch])
            order = rng.permutation(self.length)
            if self.grouping is not None:
                order = order[self.grouping.arranged(indices[order], rng)]
            passes, indices = passes[order], indices[order]
        return zip(passes.tolist(), indices.tolist(), strict=True)


def weighted(source: Source) -> Mixture | None:
    """The source where it is a mixture with weights."""
    return source if isinstance(source, Mixture) and source.weights is not None else None
