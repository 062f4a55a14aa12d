"""Announces the fusion `adem`."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_fusions(register: Register) -> None:
    """Announce the fusion."""
    register(
        "adem",
        "mmadapt_adem.fusion:AdemFusion",
        "ADEM-VL: parameter-free cross-attention to multi-scale media beside the LM's MLPs",
    )
