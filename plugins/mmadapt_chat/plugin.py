"""Announces the chat head."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_heads(register: Register) -> None:
    """Announce the head."""
    register("chat", "mmadapt_chat.head:ChatHead", "talks in the LM's own chat template")
