"""The low-rank projector from an encoder's width to the LM's."""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Module):
    """Linear, SiLU, Linear, with biases: Xavier-uniform weights, zero biases.

    Args:
        in_features: width e of the encoder.
        hidden_size: width between the two.
        out_features: width d of the LM.

    Example:
        >>> sum(p.numel() for p in Projector(1024, 128, 4096).parameters())
        659584
    """

    def __init__(self, in_features: int, hidden_size: int, out_features: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden_size)
        self.fc2 = nn.Linear(hidden_size, out_features)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Projects (..., e) to (..., d) in the precision of the weights."""
        hidden: Tensor = nn.functional.silu(self.fc1(x.to(self.fc1.weight.dtype)))
        return self.fc2(hidden)
