"""Metric: scores answers against a sample's references."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel

from mmadapt.types import Sample


@dataclass(frozen=True)
class MetricResult:
    """`values` by name (there may be several), one score per sample, and the settings used."""

    values: dict[str, float]
    per_sample: list[float]
    settings: dict[str, Any] = field(default_factory=dict)


class Metric(ABC):
    """Collects answers, then scores them all at once."""

    Config: ClassVar[type[BaseModel]]

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
