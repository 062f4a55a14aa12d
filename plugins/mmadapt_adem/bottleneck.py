"""Trainable bottlenecks beside the MLPs of a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

SCALE = 0.1
DROPOUT = 0.1


class Bottleneck(nn.Module):
    """What is added to an encoder block's MLP: 0.1 * fc2(dropout(gelu(fc1(x)))), zero at the start.

    Args:
        hidden_size: width e of the encoder.
        width: width inside.
    """

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, width, bias=False)
        self.fc2 = nn.Linear(width, hidden_size, bias=False)
        self.dropout = nn.Dropout(DROPOUT)
        nn.init.zeros_(self.fc2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the term (..., e) for the MLP input `x` (..., e), in `x`'s precision."""
        inside = nn.functional.gelu(self.fc1(x.to(self.fc1.weight.dtype)))
        return (SCALE * self.fc2(self.dropout(inside))).to(x.dtype)


def hook_bottlenecks(
    mlps: Sequence[nn.Module], bottlenecks: Sequence[nn.Module]
) -> list[RemovableHandle]:
    """Adds to each MLP's output what its bottleneck makes of its input; returns the hooks."""
    return [
        mlp.register_forward_hook(_beside(bottleneck), with_kwargs=True)
        for mlp, bottleneck in zip(mlps, bottlenecks, strict=True)
    ]


def _beside(bottleneck: nn.Module) -> Callable[..., Tensor]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        x = args[0] if args else next(iter(kwargs.values()))
        return output + bottleneck(x)

    return hook
