"""The kernel functions of the paper's Table VIII, for queries and keys alike."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

# SiLU has its only minimum at -1.27846454; this is its value there.
SILU_MINIMUM = -0.27846454276107374


def _none(x: Tensor) -> Tensor:
    return x


def _softmax(x: Tensor) -> Tensor:
    return x.softmax(dim=-1)


def _silu_min(x: Tensor) -> Tensor:
    return F.silu(x) - SILU_MINIMUM


# The paper does not say over what its softmax runs; a function of one token has channels only.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": _none,
    "softmax": _softmax,
    "relu": F.relu,
    "elu": F.elu,
    "silu": F.silu,
    "silu_min": _silu_min,
}
