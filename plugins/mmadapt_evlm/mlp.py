"""The dense feed-forward part, without biases."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmadapt_evlm.config import Activation

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,
    "relu": torch.relu,
    "silu": nn.functional.silu,
}


class Mlp(nn.Module):
    """down(activation(up(x)))."""

    def __init__(self, width: int, inner: int, activation: Activation) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., d) to (..., d)."""
        return self.down(self.activation(self.up(x)))
