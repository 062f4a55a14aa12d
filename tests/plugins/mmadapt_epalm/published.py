"""The published forward, written from its description alone: OPT, prompts, slot, masks and loss.

Sequence before the start layer: [prompt, text]; from it on: [slot, prompt, text]. Weights are read
from an OPT state dict by name; nothing here uses the fusion or the transformers model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


def published_logits(
    weights: Weights,
    num_heads: int,
    input_ids: Tensor,
    attention_mask: Tensor,
    vectors: Sequence[Tensor],
    prompt: Tensor,
    start: int,
    end: int,
    interval: int = 1,
) -> Tensor:
    """(b, 1 + P + s, v) for K `vectors` (b, d) and a `prompt` (P, e), text padded on the right."""
    w = {name.removeprefix("model.decoder."): tensor for name, tensor in weights.items()}
    batch, length = len(input_ids), len(prompt)
    position = attention_mask.cumsum(1) * attention_mask - 1  # padding: -1
    x = torch.cat([prompt.expand(batch, -1, -1), w["embed_tokens.weight"][input_ids]], dim=1)
    if "project_in.weight" in w:
        x = x @ w["project_in.weight"].T
    no_position = x.new_zeros(batch, length, x.shape[2])
    x = x + torch.cat([no_position, w["embed_positions.weight"][position + 2]], dim=1)

    keys = torch.cat([attention_mask.new_ones(batch, length), attention_mask], dim=1)
    lowest, size = torch.finfo(x.dtype).min, keys.shape[1]
    causal = torch.full((size, size), float("-inf")).triu(1)
    mask = causal + torch.zeros(batch, 1, 1, size).masked_fill(keys[:, None, None] == 0, lowest)

    span, count = end - start, len(vectors)
    step = span // count if count > 1 and span > count else 1
    num_layers = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("layers."))
    entered = False
    for i in range(num_layers):
        if start <= i < end and i % interval == 0:
            vector = vectors[min((i - start) // step, count - 1)][:, None]
            x = torch.cat([vector, x[:, 1:] if entered else x], dim=1)
            mask = mask if entered else F.pad(mask, (1, 0, 1, 0))  # row and column of zeros
            entered = True
        layer = {k.removeprefix(f"layers.{i}."): v for k, v in w.items() if f"layers.{i}." in k}
        x = _layer(layer, x, mask, num_heads, "final_layer_norm.weight" in w)
    if "final_layer_norm.weight" in w:
        x = _norm(w, "final_layer_norm", x)
    if "project_out.weight" in w:
        x = x @ w["project_out.weight"].T
    return x @ w["lm_head.weight"].T


def published_loss(logits: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """(b,): per sample the sum over every token after the first, the question included."""
    labels = input_ids.masked_fill(attention_mask == 0, -100)[:, 1:]
    labels = F.pad(labels, (logits.shape[1] - 1 - labels.shape[1], 0), value=-100)
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels, reduction="none").sum(1)


def soft_prompt(weights: Weights) -> Tensor:
    """(P, d): the embedding, and where there is an MLP its Linear, Tanh, Linear."""
    x = weights["prompt.embedding.weight"]
    if "prompt.mlp.0.weight" not in weights:
        return x
    return _linear(weights, "prompt.mlp.2", torch.tanh(_linear(weights, "prompt.mlp.0", x)))


def _layer(w: Weights, x: Tensor, mask: Tensor, num_heads: int, norm_first: bool) -> Tensor:
    y = _norm(w, "self_attn_layer_norm", x) if norm_first else x
    x = x + _attention(w, y, mask, num_heads)
    x = x if norm_first else _norm(w, "self_attn_layer_norm", x)
    y = _norm(w, "final_layer_norm", x) if norm_first else x
    x = x + _linear(w, "fc2", torch.relu(_linear(w, "fc1", y)))
    return x if norm_first else _norm(w, "final_layer_norm", x)


def _attention(w: Weights, x: Tensor, mask: Tensor, num_heads: int) -> Tensor:
    batch, size, width = x.shape

    def heads(name: str) -> Tensor:
        y = _linear(w, f"self_attn.{name}_proj", x)
        return y.view(batch, size, num_heads, -1).transpose(1, 2)

    query = heads("q") * (width // num_heads) ** -0.5
    scores = query @ heads("k").transpose(2, 3) + mask
    y = scores.softmax(dim=-1) @ heads("v")
    return _linear(w, "self_attn.out_proj", y.transpose(1, 2).reshape(batch, size, width))


def _linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])
