"""Announces the encoder; nothing here imports torch, so that listing plugins stays fast."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_encoders(register: Register) -> None:
    """Announces `example`."""
    register(
        "example",
        "mmadapt_example.encoder:ExampleEncoder",
        "the encoder example",
    )
