"""The contract that every fusion keeps, with and without what adem puts into text and encoder."""

from __future__ import annotations

from mmadapt.contracts import Encoder, FusionContext
from mmadapt.testing import FusionContract
from mmadapt_adem.config import AdemConfig
from mmadapt_adem.fusion import AdemFusion
from tests.tiny import TinyEncoder

SMALL = {"scales": [(4, 4), (2, 2)], "hidden_size": 8, "gamma": 0.3}


class TestClips(FusionContract):
    """Beside the MLPs alone."""

    def make(self, context: FusionContext) -> AdemFusion:
        options = {**SMALL, "alpha": 0.1, "beta": 1.0, "cls": False, "bottleneck": None}
        return AdemFusion(AdemConfig(**options), context)

    def encoders(self) -> dict[str, Encoder]:
        return {"image": TinyEncoder(items=3)}


class TestPicturesWithClsAndBottlenecks(FusionContract):
    """As published: CLS and prefix in the text, bottlenecks in the encoder."""

    # Behind the prefix, the tiny GPT-NeoX repeats itself whatever the fusion does.
    families = ("opt", "llama", "mistral", "gpt2")
    # The encoder's last block is not read, so its bottleneck gets no gradient.
    without_gradient = frozenset(
        {"bottlenecks.image.5.fc1.weight", "bottlenecks.image.5.fc2.weight"}
    )

    def make(self, context: FusionContext) -> AdemFusion:
        return AdemFusion(AdemConfig(**{**SMALL, "alpha": 0.2, "beta": 0.3}), context)
