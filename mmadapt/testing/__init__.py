"""Contract suites and tiny models for the tests of plugins."""

from mmadapt.testing.fusion import FusionContract

__all__ = ["FusionContract"]
