"""An encoder under test: how a subclass says what it is and what it reads."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import BaseModel
from torch import Tensor

from mmadapt.contracts import Encoder
from mmadapt.freezing.freeze import freeze
from mmadapt.testing.media import batch_of, noise
from mmadapt.types import Features, LevelSpec, MediaInputs, MediaPart


class EncoderCase(ABC):
    """An encoder under test.

    Attributes:
        encoder: the class.
        tolerance: largest difference between two equal computations, relative to the largest value.
        half_tolerance: the same between bfloat16 and float32.
        has_norm: whether final-normed levels differ from raw ones.
        folder: an empty folder, a new one for each test.
    """

    encoder: ClassVar[type[Encoder]]
    tolerance: float = 1e-5
    half_tolerance: float = 0.1
    has_norm: bool = True
    folder: Path

    @abstractmethod
    def config(self) -> BaseModel:
        """The options of a small encoder; its weights may be written to `self.folder`."""

    def media(self, seed: int) -> MediaPart:
        """A medium in memory; by default noise of the encoder's modality."""
        return noise(self.encoder.modality, seed)

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self._config: BaseModel | None = None

    def options(self) -> BaseModel:
        """The options, made once for each test."""
        if self._config is None:
            torch.manual_seed(0)
            self._config = self.config()
        return self._config

    def built(self) -> Encoder:
        """The encoder, frozen as a model freezes it."""
        torch.manual_seed(0)
        encoder = self.encoder(self.options())  # type: ignore[call-arg]
        freeze(encoder)
        return encoder.eval()

    def batch(self, encoder: Encoder, count: int = 3) -> MediaInputs:
        """Different media, one for each sample."""
        return batch_of(encoder, [self.media(seed) for seed in range(count)])

    def wanted(self, encoder: Encoder) -> list[LevelSpec]:
        """The last level final-normed, the first and the last raw."""
        last = encoder.num_levels - 1
        return [LevelSpec(last, normed=True), LevelSpec(0), LevelSpec(last)]


@torch.no_grad()
def encode(encoder: Encoder, inputs: MediaInputs, levels: Any) -> Features:
    """The features of a batch, without gradients."""
    return encoder(inputs, levels)


def assert_like(a: Tensor, b: Tensor, tolerance: float, what: str) -> None:
    """Fails, saying `what`, unless `a` is `b` within `tolerance` of the largest value."""
    assert a.shape == b.shape, f"{what}: shapes are {tuple(a.shape)} and {tuple(b.shape)}"
    if not a.numel():
        return
    scale = max(1.0, float(b.double().abs().max()))
    found = float((a.double() - b.double()).abs().max()) / scale
    assert found <= tolerance, f"{what}: they differ by {found:.2e}, more than {tolerance:.0e}"


def copied(encoder: Encoder) -> Encoder:
    """The same encoder with weights of its own."""
    return copy.deepcopy(encoder)
