"""Captions: the head and its metrics."""
