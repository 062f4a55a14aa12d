"""A gated layer: cross-attention and a feed-forward part, each behind a gate that starts shut.

x <- x + tanh(a) * attention(x, media);  x <- x + tanh(f) * mlp(norm(x))
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmadapt_evlm.attention import CrossAttention, KeysValues, make_norm
from mmadapt_evlm.config import EvlmConfig
from mmadapt_evlm.layout import mlp_width
from mmadapt_evlm.mlp import Mlp
from mmadapt_evlm.moe import Moe
from mmadapt_evlm.visibility import Seen


class GatedBlock(nn.Module):
    """What stands before one LM layer. With shut gates only the gates get a gradient.

    Gates are float32 whatever the rest is: in bfloat16 a small step on them would be lost.

    Args:
        config: an `EvlmConfig`.
        width: of the LM's hidden states.
        media_widths: of each encoder's tokens.
    """

    def __init__(self, config: EvlmConfig, width: int, media_widths: Mapping[str, int]) -> None:
        super().__init__()
        inner = mlp_width(config, width)
        self.attention = CrossAttention(config, width, media_widths)
        self.attention_gate = nn.Parameter(torch.zeros((), dtype=torch.float32))
        self.mlp_norm = make_norm(config, width)
        self.mlp: Mlp | Moe = (
            Mlp(width, inner, config.activation)
            if config.moe is None
            else Moe(config.moe, width, inner, config.activation)
        )
        self.mlp_gate = nn.Parameter(torch.zeros((), dtype=torch.float32))

    def forward(
        self, x: Tensor, keys_values: KeysValues | None, seen: Seen | None
    ) -> tuple[Tensor, Tensor | None]:
        """Changes hidden states (b, s, d).

        Args:
            x: hidden states; the result has their dtype.
            keys_values: (b, heads, k, head_dim) each, or None where the batch has no media.
            seen: which keys each position sees.

        Returns:
            Hidden states, and router logits (b, s, E) or None.
        """
        dtype = self.attention.to_q.weight.dtype
        read = self.attention(x.to(dtype), keys_values, seen)
        x = _gated(x, self.attention_gate, read)
        normed, logits = self.mlp_norm(x.to(dtype)), None
        y = self.mlp(normed)
        if isinstance(y, tuple):
            y, logits = y
        return _gated(x, self.mlp_gate, y), logits


def _gated(x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
    """x + tanh(gate) y in the precision of x; the gate's own is kept as long as y's is."""
    opening = gate.float().tanh()
    if x.dtype == y.dtype == opening.dtype:
        return torch.addcmul(x, opening, y)
    return x + (opening * y).to(x.dtype)
