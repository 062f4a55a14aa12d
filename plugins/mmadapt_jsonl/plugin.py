"""Announces the jsonl source."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_sources(register: Register) -> None:
    """Announce the source."""
    register("jsonl", "mmadapt_jsonl.source:JsonlSource", "your own files, one JSON record a line")
