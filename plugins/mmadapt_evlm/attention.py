"""Cross-attention of hidden states to media (EVLM, arXiv 2407.14177; Flamingo, arXiv 2204.14198).

    A = softmax(Q K^T / sqrt(head_dim) + mask), Q = norm(x) Wq, [K, V] = media Wkv, result (A V) Wo

A row that sees nothing gives exactly zero. With `zero_pad` n, n zero keys and values stand beside
the media for every row instead: they take attention away and add nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmadapt_evlm.config import EvlmConfig
from mmadapt_evlm.layout import attention_width
from mmadapt_evlm.visibility import Seen

KeysValues = tuple[Tensor, Tensor]


def make_norm(config: EvlmConfig, width: int) -> nn.Module:
    """The norm before both parts of a gated layer."""
    return nn.LayerNorm(width) if config.norm == "layernorm" else nn.RMSNorm(width, eps=1e-6)


class CrossAttention(nn.Module):
    """Attention to the media of several encoders, each with its own key and value projection.

    Args:
        config: an `EvlmConfig`.
        width: of the LM's hidden states.
        media_widths: of each encoder's tokens.
    """

    def __init__(self, config: EvlmConfig, width: int, media_widths: Mapping[str, int]) -> None:
        super().__init__()
        inner = attention_width(config, width)
        self.head_dim, self.zero_pad = config.head_dim, config.zero_pad
        self.norm = make_norm(config, width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.ModuleDict(
            {name: nn.Linear(size, 2 * inner, bias=False) for name, size in media_widths.items()}
        )
        self.to_out = nn.Linear(inner, width, bias=False)
        self.norm_q = nn.RMSNorm(config.head_dim, eps=1e-6) if config.qk_norm else nn.Identity()
        self.norm_k = nn.RMSNorm(config.head_dim, eps=1e-6) if config.qk_norm else nn.Identity()

    def keys_values(self, media: Mapping[str, Tensor]) -> KeysValues:
        """Keys and values of encoders' tokens (b, n, e), k in all: (b, heads, k, head_dim) each."""
        dtype = self.to_q.weight.dtype
        projected = [self.to_kv[name](tokens.to(dtype)) for name, tokens in media.items()]
        both = projected[0] if len(projected) == 1 else torch.cat(projected, dim=1)
        keys, values = both.unflatten(2, (2, -1, self.head_dim)).unbind(2)
        return self.norm_k(keys).transpose(1, 2), values.transpose(1, 2)

    def forward(self, x: Tensor, keys_values: KeysValues | None, seen: Seen | None) -> Tensor:
        """What x (b, q, d) reads from the keys and values that each of its rows sees."""
        if keys_values is None or seen is None:
            return torch.zeros_like(x)
        q = self.norm_q(self.to_q(self.norm(x)).view(*x.shape[:2], -1, self.head_dim))
        keys, values = (kind.to(q.dtype) for kind in keys_values)
        if self.zero_pad:
            keys, values = (nn.functional.pad(t, (0, 0, 0, self.zero_pad)) for t in (keys, values))
        read = nn.functional.scaled_dot_product_attention(
            q.transpose(1, 2), keys, values, attn_mask=seen.bias.to(q.dtype)
        )
        read = read.transpose(1, 2).flatten(2)
        return self.to_out(read if seen.rows is None else read * seen.rows.to(read.dtype))
