"""Freezing: no gradients, no dropout, yet train mode, so that checkpointing really runs."""

from __future__ import annotations

import contextlib

from torch import nn

# Modules keep these probabilities as plain numbers and apply them in train mode only.
_PROBABILITIES = (
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "hidden_dropout",
    "dropout_prob",
    "drop_prob",
    "layerdrop",
)


def freeze(module: nn.Module, *, keep_dropout: bool = False) -> None:
    """Stops all gradients of `module` and, unless told otherwise, its dropout.

    Args:
        module: a language model or an encoder.
        keep_dropout: leaves dropout alive in train mode, as the published eP-ALM trains.
    """
    module.requires_grad_(False)
    if keep_dropout:
        return
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        for name in _PROBABILITIES:
            if isinstance(getattr(part, name, None), float):
                with contextlib.suppress(AttributeError):
                    setattr(part, name, 0.0)


def keep_statistics(module: nn.Module) -> None:
    """Puts batch-norm layers into eval mode: a frozen module's running statistics do not move."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
