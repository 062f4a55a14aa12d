"""Freezing: no gradients, no dropout, yet train mode, so that checkpointing really runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

Undo = Callable[[], None]


def freeze(module: nn.Module, *, keep_dropout: bool = False) -> Undo:
    """Stops all gradients of `module` and, unless told otherwise, its dropout.

    Args:
        module: a language model or an encoder.
        keep_dropout: leaves dropout alive in train mode, as the published eP-ALM trains.

    Returns:
        What gives the dropout of its layers back.
    """
    module.requires_grad_(False)
    return (lambda: None) if keep_dropout else silence(_layer_dropout(module))


def silence_config(module: nn.Module) -> Undo:
    """Sets every dropout in the configurations of `module` and its parts to 0.

    Some families (Falcon) read them at every forward. A configuration is saved with its model, so
    it should be silenced during training only.

    Returns:
        What gives the values back.
    """
    configs = {id(part.config): part.config for part in module.modules() if _has_config(part)}
    return silence(
        (config, name) for config in configs.values() for name in _dropout_names(vars(config))
    )


def silence(places: Iterator[tuple[Any, str]]) -> Undo:
    """Sets attributes to 0.0 and returns what gives their values back."""
    before = [(owner, name, getattr(owner, name)) for owner, name in places]
    for owner, name, _ in before:
        setattr(owner, name, 0.0)

    def undo() -> None:
        for owner, name, value in before:
            setattr(owner, name, value)

    return undo


def keep_statistics(module: nn.Module) -> None:
    """Puts batch-norm layers into eval mode: a frozen module's running statistics do not move."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()


def _layer_dropout(module: nn.Module) -> Iterator[tuple[Any, str]]:
    """Where the parts of a module keep the probabilities that they apply in train mode."""
    for part in module.modules():
        for name in _dropout_names(vars(part)):
            yield part, name
        kind = type(part).__name__.lower()
        if ("drop" in kind or "stochasticdepth" in kind) and isinstance(vars(part).get("p"), float):
            yield part, "p"


def _dropout_names(values: dict[str, Any]) -> list[str]:
    return [name for name, x in values.items() if "drop" in name and isinstance(x, float) and x]


def _has_config(part: nn.Module) -> bool:
    return hasattr(getattr(part, "config", None), "__dict__")
