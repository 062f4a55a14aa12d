"""Announces the fusion `evlm`."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_fusions(register: Register) -> None:
    """Announce the fusion."""
    register(
        "evlm",
        "mmadapt_evlm.fusion:EvlmFusion",
        "EVLM: gated cross-attention to hierarchical features before the LM's layers; also MoE",
    )
