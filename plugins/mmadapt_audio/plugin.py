"""Announces the audio encoders; nothing here imports torch."""

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_encoders(register: Register) -> None:
    """Announces `ast` and `whisper`."""
    register(
        "ast", "mmadapt_audio.ast_encoder:AstEncoder", "sounds through an audio spectrogram ViT"
    )
    register(
        "whisper",
        "mmadapt_audio.whisper_encoder:WhisperEncoder",
        "speech through Whisper's encoder",
    )
