"""Encoders that hear: audio spectrogram transformers and the encoder of Whisper."""
