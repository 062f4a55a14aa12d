"""Announces the shapes source."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_sources(register: Register) -> None:
    """Announce the source."""
    register(
        "shapes",
        "mmadapt_shapes.source:ShapesSource",
        "built-in world of moving shapes, pictures and sounds, rendered on first use",
    )
