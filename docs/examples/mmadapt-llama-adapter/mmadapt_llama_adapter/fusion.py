"""LLaMA-Adapter (arXiv 2303.16199): zero-gated attention to learned prompts that carry media."""
# In each upper layer l, with the LM's own frozen projections Wq, Wk, Wv, Wo of its attention:
#
#     P = P_l + I                 learned prompts; I is the projected media feature, or nothing
#     attention(x) + (tanh(g_l) * softmax((x Wq)(P Wk)^T * scale) (P Wv)) Wo
#
# The gates g_l, one for each head, start at zero, so that the LM starts as it was.
#
# Departures from the released code: queries carry no rotary position here, as prompts have none;
# the media feature is the mean over the tokens of all items, the paper's is CLIP's global one.
#
# ruff: noqa: D102

from collections.abc import Iterable, Mapping, Sequence

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mmadapt.anatomy import find_attentions
from mmadapt.contracts import Encoder, EncoderInfo, Fusion, FusionContext
from mmadapt.errors import AttachError
from mmadapt.types import Features, LevelSpec, State


class LlamaAdapterConfig(BaseModel):
    """Prompts in each of the upper layers, how many those are, and the encoder levels read."""

    model_config = ConfigDict(extra="forbid")
    prompt_length: PositiveInt = 10
    num_layers: PositiveInt = 30
    num_levels: PositiveInt = 1


class LlamaAdapter(Fusion):
    """Learned prompts, to which a media feature is added, beside the attention of upper layers."""

    Config = LlamaAdapterConfig

    def __init__(self, config: LlamaAdapterConfig, context: FusionContext) -> None:
        super().__init__(config, context)
        self.first = max(0, context.num_layers - config.num_layers)
        count, width = context.num_layers - self.first, context.hidden_size
        self.prompts = nn.Parameter(torch.randn(count, config.prompt_length, width))
        self.gates = nn.Parameter(torch.zeros(count, context.num_attention_heads, 1, 1))
        sizes = {name: config.num_levels * e.hidden_size for name, e in context.encoders.items()}
        self.projections = nn.ModuleDict({n: nn.Linear(e, width, False) for n, e in sizes.items()})

    def levels(self, encoder: EncoderInfo) -> Sequence[LevelSpec]:
        return [LevelSpec(i, True) for i in range(encoder.num_levels)[-self.config.num_levels :]]

    def layers(self, num_layers: int) -> Iterable[int]:
        return range(self.first, num_layers)

    def rewrite(self, encoders: Mapping[str, Encoder], lm: nn.Module) -> None:
        self.attentions = find_attentions(lm)
        if not all(hasattr(self.attentions[0], f"{letter}_proj") for letter in "qkvo"):
            raise AttachError(f"fusion '{self.name}' needs an LM with q_, k_, v_ and o_proj")

    def prepare(self, features: Mapping[str, Features], state: State) -> Tensor:
        total = self.prompts.new_zeros(state.batch_size, 1, self.context.hidden_size)
        for name, media in features.items():
            seen = media.mask.flatten(1, 2)[..., None]  # (b, t * n, 1)
            tokens = torch.cat(media.levels, dim=-1).flatten(1, 2).masked_fill(~seen, 0)
            mean = tokens.sum(dim=1, keepdim=True) / seen.sum(dim=1, keepdim=True).clamp_min(1)
            total = total + self.projections[name](mean.to(total.dtype))  # without media: 0
        return total

    def attention_output(self, i: int, x: Tensor, y: Tensor, state: State) -> Tensor:
        attention, number = self.attentions[i], i - self.first
        prompts = (self.prompts[number] + state.memories[self.name]).to(x.dtype)
        q, k, v = (
            getattr(attention, name)(z).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            for name, z in (("q_proj", x), ("k_proj", prompts), ("v_proj", prompts))
        )
        read = scaled_dot_product_attention(q, k, v, scale=attention.scaling, enable_gqa=True)
        read = self.gates[number].tanh().to(read.dtype) * read
        return y + attention.o_proj(read.transpose(1, 2).flatten(2))
