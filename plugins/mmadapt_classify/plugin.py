"""Announces the classify head and the metrics of closed answers."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_heads(register: Register) -> None:
    """Announce the head."""
    register(
        "classify",
        "mmadapt_classify.head:ClassifyHead",
        "finds the likeliest of given classes",
    )


@hookimpl
def register_metrics(register: Register) -> None:
    """Announce the metrics."""
    register("accuracy", "mmadapt_classify.metrics:Accuracy", "share of right answers")
    register("macro_f1", "mmadapt_classify.metrics:MacroF1", "F1 averaged over the classes")
