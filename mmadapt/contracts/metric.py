"""Metric: scores answers against a sample's references."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel

from mmadapt.types import Sample

Draw = Callable[[np.ndarray], dict[str, float]]


@dataclass(frozen=True)
class MetricResult:
    """`values` by name (there may be several), one score per sample, and the settings used.

    Args:
        values: the last one stands for the metric.
        per_sample: one score for each update, in order.
        settings: all that a paper's footnote needs to repeat the number; see `Metric.described`.
        draw: for a metric whose values are no means of `per_sample` (BLEU, macro F1): the values of
            a bootstrap draw, given the places (n,) of its samples, some of them several times. None
            says that the last value is the mean of `per_sample`.
    """

    values: dict[str, float]
    per_sample: list[float]
    settings: dict[str, Any] = field(default_factory=dict)
    draw: Draw | None = field(default=None, compare=False, repr=False)


class Metric(ABC):
    """Collects answers, then scores them all at once.

    `version` is raised whenever the same answers could score otherwise.
    """

    Config: ClassVar[type[BaseModel]]
    version: ClassVar[str] = "1"

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def update(self, sample: Sample, answer: str) -> None:
        """Adds one answer."""

    @abstractmethod
    def compute(self) -> MetricResult:
        """Scores everything added so far.

        Raises:
            DataError: nothing was added, or a sample has nothing to score against.
        """

    def described(self, **settings: Any) -> dict[str, Any]:
        """Settings of a result: the metric's version, its options, and what else is given.

        Example:
            >>> metric.described(tokenizer="words")  # doctest: +SKIP
            {'version': '1', 'lower': True, 'tokenizer': 'words'}
        """
        return {"version": self.version, **self.config.model_dump(mode="json"), **settings}
