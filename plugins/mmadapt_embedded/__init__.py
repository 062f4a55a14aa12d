"""The embedded default: a tiny language model, vision and audio transformer, and their making."""
