"""Announces the choice head and its metric."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_heads(register: Register) -> None:
    """Announce the head."""
    register("choice", "mmadapt_choice.head:ChoiceHead", "answers a question by an option's letter")


@hookimpl
def register_metrics(register: Register) -> None:
    """Announce the metric."""
    register(
        "scienceqa",
        "mmadapt_choice.scienceqa:Scienceqa",
        "ScienceQA's accuracy and its eight columns",
    )
