"""The contract of a fusion, as a test class to inherit."""

from __future__ import annotations

from mmadapt.testing.generation import GenerationContract
from mmadapt.testing.training import TrainingContract


class FusionContract(TrainingContract, GenerationContract):
    """x"""
