"""Announces the metric; nothing here imports torch, so that listing plugins stays fast."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_metrics(register: Register) -> None:
    """Announces `example`."""
    register(
        "example",
        "mmadapt_example.metric:ExampleMetric",
        "the metric example",
    )
