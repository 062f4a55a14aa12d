"""Announces the fusion `epalm`."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_fusions(register: Register) -> None:
    """Announce the fusion."""
    register(
        "epalm",
        "mmadapt_epalm.fusion:EpalmFusion",
        "eP-ALM: one media token, written into the LM's upper layers, and a soft prompt",
    )
