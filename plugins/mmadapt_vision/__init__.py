"""Encoders that see: vision transformers for images and frames, video transformers for clips."""
