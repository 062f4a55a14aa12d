"""Announces the prefix fusion."""

from collections.abc import Callable

from mmadapt import hookimpl


@hookimpl
def register_fusions(register: Callable[..., object]) -> None:
    """Registers `prefix`."""
    register(
        "prefix",
        "mmadapt_prefix.fusion:PrefixFusion",
        "projected media tokens in the LM's input (LLaVA, LiMBeR): the baseline everyone knows",
    )
