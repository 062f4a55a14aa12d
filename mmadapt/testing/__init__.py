"""Contract suites and tiny models for the tests of plugins."""

from mmadapt.testing.encoder import EncoderContract
from mmadapt.testing.fusion import FusionContract
from mmadapt.testing.head import HeadContract
from mmadapt.testing.metric import MetricContract
from mmadapt.testing.source import SourceContract
from mmadapt.testing.streamed import StreamedSourceContract

__all__ = [
    "EncoderContract",
    "FusionContract",
    "HeadContract",
    "MetricContract",
    "SourceContract",
    "StreamedSourceContract",
]
