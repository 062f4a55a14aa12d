"""The contract that every encoder keeps."""

from mmadapt.testing import EncoderContract
from mmadapt_audio.ast_encoder import AstEncoder
from mmadapt_audio.config import AstConfig, WhisperConfig
from mmadapt_audio.whisper_encoder import WhisperEncoder
from tests.plugins.mmadapt_audio.tiny_audio import save_model


class TestAst(EncoderContract):
    encoder = AstEncoder

    def config(self):
        save_model("ast", self.folder)
        return AstConfig(model=str(self.folder), segments=2, frequency_mask=8, time_mask=8)


class TestWhisper(EncoderContract):
    encoder = WhisperEncoder

    def config(self):
        save_model("whisper", self.folder)
        return WhisperConfig(model=str(self.folder))


class TestWhisperOnAGrid(TestWhisper):
    def config(self):
        options = super().config().model_dump()
        return WhisperConfig(**{**options, "padding": "max_seconds", "max_seconds": 1.8})
