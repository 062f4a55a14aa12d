"""The contract of a fusion, as a test class to inherit."""

from __future__ import annotations

from mmadapt.testing.attachment import AttachmentContract
from mmadapt.testing.generation import GenerationContract
from mmadapt.testing.training import TrainingContract


class FusionContract(TrainingContract, GenerationContract, AttachmentContract):
    """Every promise of a fusion, tested on tiny random LMs of several families in seconds.

    A subclass says how to make the fusion, and may give other encoders, families and tolerances
    (see `FusionCase`); pytest then runs all tests of the suite on it.

    Example:
        class TestMyFusion(FusionContract):
            def make(self, context):
                return MyFusion(MyConfig(), context)
    """
