"""The soft prompt."""

from __future__ import annotations

from torch import Tensor, nn


class SoftPrompt(nn.Module):
    """Learned vectors (p, d), themselves or through Linear, Tanh, Linear.

    Args:
        length: p.
        width: d.
        mlp: whether they go through the two linear layers.
    """

    def __init__(self, length: int, width: int, mlp: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(length, width)
        self.mlp = (
            nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))
            if mlp
            else nn.Identity()
        )

    def forward(self) -> Tensor:
        """The vectors (p, d)."""
        return self.mlp(self.embedding.weight)
