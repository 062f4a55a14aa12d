"""Announces the vqa head and its metrics."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_heads(register: Register) -> None:
    """Announce the head."""
    register("vqa", "mmadapt_vqa.head:VqaHead", "answers a question in its own words")


@hookimpl
def register_metrics(register: Register) -> None:
    """Announce the metrics."""
    register(
        "vqa_accuracy",
        "mmadapt_vqa.metric:VqaAccuracy",
        "VQA accuracy by the official rule: agreement with ten people",
    )
    register(
        "exact_match",
        "mmadapt_vqa.exact_match:ExactMatch",
        "share of answers equal to a reference, normalised by choice",
    )
