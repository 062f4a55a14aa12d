"""The five contracts that plugins implement."""

from mmadapt.contracts.encoder import Encoder, Processor
from mmadapt.contracts.fusion import EncoderInfo, Fusion, FusionContext, Rewrite, encoder_info
from mmadapt.contracts.head import Head, HeadConfig
from mmadapt.contracts.metric import Metric, MetricResult
from mmadapt.contracts.source import Source, StreamedSource
from mmadapt.text import EncodedText

__all__ = [
    "EncodedText",
    "Encoder",
    "EncoderInfo",
    "Fusion",
    "FusionContext",
    "Head",
    "HeadConfig",
    "Metric",
    "MetricResult",
    "Processor",
    "Rewrite",
    "Source",
    "StreamedSource",
    "encoder_info",
]
