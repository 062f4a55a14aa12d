"""Fine-grained experts and a world expert in place of the feed-forward part (EVLM, section on MoE).

    p = softmax(W x) in float32, S = the top k of p, g_i = p_i or p_i / sum over S of p
    result = scale * sum over S of g_i E_i(x) + world(x)

The paper cites DeepSeekMoE (arXiv 2401.06066) and gives no more than the numbers of replicas,
slices and active experts. No token is ever dropped, so an expert's share of them is known
only when they are there: torch.compile breaks its graph at this place. The experts' weights are
plain tensors, so any optimiser, sharding and checkpoint takes them as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmadapt_evlm.config import Activation, MoeConfig
from mmadapt_evlm.mlp import ACTIVATIONS, Mlp


def route(logits: Tensor, top_k: int, normalize: bool) -> tuple[Tensor, Tensor]:
    """The chosen experts (n, k) of router logits (n, E), and their gates (n, k) in float32."""
    gates, experts = logits.float().softmax(dim=-1).topk(top_k, dim=-1)
    if normalize:
        gates = gates / gates.sum(dim=-1, keepdim=True)
    return experts, gates


class Experts(nn.Module):
    """Feed-forward parts without biases, as tensors `up` (E, inner, d) and `down` (E, d, inner)."""

    def __init__(self, count: int, width: int, inner: int, activation: Activation) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(count, inner, width))
        self.down = nn.Parameter(torch.empty(count, width, inner))
        for weight in (self.up, self.down):  # as nn.Linear starts
            bound = weight.shape[2] ** -0.5
            nn.init.uniform_(weight, -bound, bound)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, experts: Tensor, gates: Tensor) -> Tensor:
        """Sums the chosen `experts` (n, k) of x (n, d), each times its gate (n, k)."""
        if x.is_meta:  # how many tokens each expert gets is unknown there
            return torch.empty_like(x)
        top_k = experts.shape[1]
        order = experts.flatten().argsort(stable=True)
        counts = experts.flatten().bincount(minlength=len(self.up)).tolist()
        parts = x[order // top_k].split(counts)
        y = torch.cat(
            [
                nn.functional.linear(self.activation(nn.functional.linear(part, up)), down)
                for part, up, down in zip(parts, self.up, self.down, strict=True)
            ]
        )
        y = y[order.argsort()].unflatten(0, (-1, top_k))
        return (y * gates[..., None].to(y.dtype)).sum(dim=1)


class Moe(nn.Module):
    """Routed experts beside a world expert that every token passes.

    Args:
        config: a `MoeConfig`.
        width: of the LM's hidden states.
        inner: width of the dense part that the experts replace; divisible by `num_slices`.
        activation: of all experts.
    """

    def __init__(self, config: MoeConfig, width: int, inner: int, activation: Activation) -> None:
        super().__init__()
        self.config = config
        part = inner // config.num_slices
        self.router = nn.Linear(width, config.num_experts, bias=False)
        nn.init.normal_(self.router.weight, std=config.router_std * width**-0.5)
        self.experts = Experts(config.num_experts, width, part, activation)
        world = {"full": inner, "slice": part, "none": 0}[config.world]
        self.world = Mlp(width, world, activation) if world else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (b, s, d) to (b, s, d); also gives the router logits (b, s, E)."""
        logits = self.router(x)
        experts, gates = route(logits.flatten(0, 1), self.config.top_k, self.config.normalize)
        y = self.config.scale * self.experts(x.flatten(0, 1), experts, gates).view_as(x)
        return (y if self.world is None else y + self.world(x)), logits
