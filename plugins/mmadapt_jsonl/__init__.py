"""Datasets as JSON lines."""
