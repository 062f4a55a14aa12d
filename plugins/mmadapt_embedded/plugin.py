"""Announces the embedded weights."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_weights(register: Register) -> None:
    """Announce the scheme ``embedded:``."""
    register(
        "embedded",
        "mmadapt_embedded.folder:resolve",
        "tiny pretrained lm, vit and ast inside the package",
    )
