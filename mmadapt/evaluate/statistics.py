"""How far a score can be trusted: bootstrap intervals, alone and of differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmadapt.contracts import MetricResult

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds between which it lies with a confidence of 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How much larger the second of two means is, and whether that is more than noise."""

    mean: float
    low: float
    high: float

    @property
    def is_more_than_noise(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def interval(scores: Sequence[Sequence[float]], seed: int = 0) -> Interval:
    """Percentile bootstrap of a mean over runs and samples.

    Runs (seeds) are drawn first, then samples within each, so that both kinds of chance count; one
    run leaves that of samples alone.

    Args:
        scores: for each run the scores of its samples.
        seed: of the resampling.

    Example:
        >>> interval([[1.0, 1.0, 1.0]])
        Interval(mean=1.0, low=1.0, high=1.0)
    """
    means = _bootstrap([np.asarray(run, dtype=float) for run in scores], seed)
    low, high = _bounds(means)
    return Interval(float(np.mean([np.mean(run) for run in scores])), low, high)


def value_intervals(result: MetricResult, mean: Interval, seed: int = 0) -> dict[str, Interval]:
    """Percentile bootstrap over samples of a metric's values, where they can be drawn anew.

    Args:
        result: with `draw`, every value it gives has an interval; without, the last value does
            where it is the mean of the samples' scores.
        mean: that mean with its interval.
        seed: of the resampling.
    """
    if result.draw is None:
        name = next(reversed(result.values), "")
        value = result.values.get(name, np.nan)
        return {name: mean} if np.isclose(value, mean.mean, rtol=1e-6, atol=1e-9) else {}
    count, rng = len(result.per_sample), np.random.default_rng(seed)
    draws = [result.draw(rng.integers(count, size=count)) for _ in range(RESAMPLES)]
    found = {}
    for name in draws[0]:
        low, high = _bounds(np.array([draw[name] for draw in draws]))
        found[name] = Interval(result.values[name], low, high)
    return found


def difference(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], seed: int = 0
) -> Difference:
    """Paired bootstrap of the difference between two systems on the same samples.

    Args:
        first: for each run the scores of the samples, in one order for all.
        second: those of the other system; a sample is drawn for both at once.
        seed: of the resampling.

    Raises:
        ValueError: the runs do not have the same samples.
    """
    if len({len(run) for run in (*first, *second)}) != 1:
        raise ValueError("the runs must have the same samples in the same order")
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    rng = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        samples = rng.integers(one.shape[1], size=one.shape[1])
        a, b = (runs[rng.integers(len(runs), size=len(runs))] for runs in (one, other))
        means[number] = b[:, samples].mean() - a[:, samples].mean()
    low, high = _bounds(means)
    return Difference(float(other.mean() - one.mean()), low, high)


def _bootstrap(runs: list[np.ndarray], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        drawn = [runs[k] for k in rng.integers(len(runs), size=len(runs))]
        means[number] = np.mean(
            [run[rng.integers(len(run), size=len(run))].mean() for run in drawn]
        )
    return means


def _bounds(means: np.ndarray) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
