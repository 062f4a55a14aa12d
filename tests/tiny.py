"""The tiny models of the testing kit, under the name that the tests use."""

from mmadapt.testing.tiny import (
    LAYERS,
    LM_CONFIGS,
    VOCAB,
    WIDTH,
    TensorProcessor,
    TinyEncoder,
    TinyEncoderConfig,
    context,
    tiny_lm,
    tiny_tokenizer,
)

__all__ = [
    "LAYERS",
    "LM_CONFIGS",
    "VOCAB",
    "WIDTH",
    "TensorProcessor",
    "TinyEncoder",
    "TinyEncoderConfig",
    "context",
    "tiny_lm",
    "tiny_tokenizer",
]
