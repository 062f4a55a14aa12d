"""Announces the source of spoken digits."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_sources(register: Register) -> None:
    """Announce the source."""
    register("fsdd", "mmadapt_fsdd.source:FsddSource", "the Free Spoken Digit Dataset")
