"""The contract that every fusion keeps."""

from __future__ import annotations

from mmadapt.testing import FusionContract
from mmadapt_prefix.fusion import PrefixConfig, PrefixFusion


class TestMlp(FusionContract):
    families = ("llama", "opt")
    tolerance = 3e-5  # sums over 16 more positions

    def make(self, context):
        return PrefixFusion(PrefixConfig(), context)


class TestResampler(FusionContract):
    families = ("mistral",)

    def make(self, context):
        config = PrefixConfig(connector="resampler", num_queries=3, num_blocks=1, num_heads=2)
        return PrefixFusion(config, context)
