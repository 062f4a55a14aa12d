"""Both encoders under every fusion in a tiny LM: training, generation, padding."""

from __future__ import annotations

import pytest

from mmadapt.registry import get_registry
from mmadapt.testing.generation import GenerationContract
from mmadapt.testing.training import TrainingContract
from mmadapt_audio.ast_encoder import AstEncoder
from mmadapt_audio.config import AstConfig, WhisperConfig
from mmadapt_audio.whisper_encoder import WhisperEncoder
from tests.plugins.mmadapt_audio.tiny_audio import batch_of, save_model, sound


class AudioCase(TrainingContract, GenerationContract):
    families = ("llama",)
    fusion = ""
    options: dict = {}

    def make(self, context):
        cls = get_registry().get("fusion", self.fusion).load()
        return cls(cls.Config(**self.options), context)

    def media(self, encoders, rows, seed):
        sounds = [sound(0.2 + 0.15 * row, seed=3 * seed + row) for row in range(rows)]
        return {name: batch_of(encoder, *sounds) for name, encoder in encoders.items()}

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path_factory):
        type(self).saved = tmp_path_factory.mktemp("model")
        save_model(self.model, self.saved)


class AstCase(AudioCase):
    model = "ast"

    def encoders(self):
        return {"audio": AstEncoder(AstConfig(model=str(self.saved)))}


class WhisperCase(AudioCase):
    model = "whisper"
    padding = "batch"

    def encoders(self):
        config = WhisperConfig(model=str(self.saved), max_seconds=0.64, padding=self.padding)
        return {"audio": WhisperEncoder(config)}


class TestAstAdem(AstCase):
    fusion = "adem"
    options = {"scales": [[3, 5], [1, 2]], "beta": 1.0, "bottleneck": 4, "media_prefix": ""}
    # The encoder's last block is not read, so its bottleneck gets no gradient.
    without_gradient = frozenset(
        {"bottlenecks.audio.2.fc1.weight", "bottlenecks.audio.2.fc2.weight"}
    )


class TestAstEpalm(AstCase):
    fusion = "epalm"


class TestAstEvlm(AstCase):
    fusion = "evlm"
    options = {"num_levels": 2, "head_dim": 4, "num_tokens": 2}


class TestAstPrefix(AstCase):
    fusion = "prefix"


class TestWhisperAdem(WhisperCase):
    fusion, padding = "adem", "max_seconds"
    options = {
        "scales": [[1, 32]],
        "beta": 1.0,
        "cls": False,
        "bottleneck": None,
        "media_norm": "layernorm",
    }


class TestWhisperEpalm(WhisperCase):
    fusion = "epalm"
    options = {"pool": "mean"}


class TestWhisperEvlm(WhisperCase):
    fusion = "evlm"
    options = {"num_levels": 3, "span": 3, "head_dim": 4, "num_tokens": 2}


class TestWhisperPrefix(WhisperCase):
    fusion = "prefix"
    options = {"level": -1, "normed": True}
