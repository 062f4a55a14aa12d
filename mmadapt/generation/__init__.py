"""Answers of a composed model, and choosing among given ones."""
