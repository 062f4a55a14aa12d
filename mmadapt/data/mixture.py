"""Several sources as one, each with its share of an epoch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from mmadapt.contracts import Source
from mmadapt.errors import DataError
from mmadapt.types import Sample


class Mixture(Source):
    """The samples of several sources, one source after the other.

    Args:
        sources: the parts.
        weights: shares of the parts in an epoch, in any unit; None: every sample once.

    Raises:
        DataError: a part has no samples.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float] | None = None) -> None:
        super().__init__(None)
        if empty := [number for number, source in enumerate(sources) if not len(source)]:
            raise DataError("data", None, f"part {empty[0] + 1} of the mixture has no samples")
        self.sources, self.weights = list(sources), weights
        self.ends = list(accumulate(map(len, self.sources)))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        part = bisect_right(self.ends, index)
        return self.sources[part][index - (self.ends[part - 1] if part else 0)]


def shares(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers that sum to `total` and follow the weights as nearly as they can.

    A share that is too small for one sample an epoch is none: raise its weight, or join the parts
    without weights.

    Example:
        >>> shares(10, [1, 1, 1])
        [4, 3, 3]
    """
    exact = total * np.asarray(weights, np.float64) / sum(weights)
    counts = np.floor(exact).astype(int)
    rest = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    return counts.tolist()


def draws(
    mixture: Mixture, seed: int, epoch: int, *, shuffle: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Which samples an epoch of a mixture with weights consists of, part after part.

    An epoch is as long as all parts together. A part is gone through again and again, in a new
    random order each time; an epoch goes on where the one before it stopped, so that all samples of
    a part are used equally often.

    Args:
        mixture: with weights.
        seed: of the orders.
        epoch: from 0.
        shuffle: random orders; otherwise the part's own.

    Returns:
        For every draw the number of the pass through its part, and the sample's index in the
        mixture: the two together never come again, in this epoch or another.
    """
    passes, indices, start = [], [], 0
    for part, count in enumerate(shares(len(mixture), mixture.weights or [])):
        length = mixture.ends[part] - start
        position = np.arange(epoch * count, (epoch + 1) * count)
        passes.append(position // length)
        offset = position % length
        if shuffle and count:
            orders = {
                number: np.random.default_rng([seed, part, number]).permutation(length)
                for number in np.unique(passes[-1]).tolist()
            }
            offset = np.array(
                [orders[n][k] for n, k in zip(passes[-1].tolist(), offset.tolist(), strict=True)]
            )
        indices.append(start + offset)
        start = mixture.ends[part]
    return np.concatenate(passes), np.concatenate(indices)
