"""Floating-point operations of a training step, as formulas in its sizes.

Matrix products alone count, 2 m n k for (m, k) x (k, n). A linear map W costs 2 |W| a row forward,
2 |W| backward where its input needs a gradient, and 2 |W| where W is trained. Attention of s rows
to n keys of width a costs 4 s n a forward and twice that backward; it is counted whole, as by a
kernel that skips nothing under a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmadapt.bench import Workload
from mmadapt.contracts import EncoderInfo, Fusion

NO_MEDIA = EncoderInfo("image", hidden_size=0, num_levels=0)


@dataclass(frozen=True)
class Sizes:
    """What the formulas read.

    Args:
        b: samples. s: text tokens of each. r: labelled rows of all. t: media items of each.
        d: width of the LM. layers: of it. w: weights of a layer's matrices. a: width of its
            queries. v: vocabulary. e: width of the encoder. n: its tokens of an item, with CLS.
        cls: of them not in a grid.
    """

    b: int
    s: int
    r: int
    t: int
    d: int
    layers: int
    w: int
    a: int
    v: int
    e: int
    n: int
    cls: int

    @classmethod
    def of(cls, config: Any, workload: Workload, info: EncoderInfo) -> Sizes:
        """Of an LM of Llama's kind, a batch and an encoder."""
        d, heads = config.hidden_size, config.num_attention_heads
        width = getattr(config, "head_dim", None) or d // heads
        a, kv = heads * width, config.num_key_value_heads * width
        patches = info.grid[0] * info.grid[1] if info.grid else 1
        return cls(
            b=workload.batch_size,
            s=workload.text_tokens,
            r=workload.batch_size * workload.labelled_tokens,
            t=workload.items or info.num_items,
            d=d,
            layers=config.num_hidden_layers,
            w=2 * d * a + 2 * d * kv + 3 * d * config.intermediate_size,
            a=a,
            v=config.vocab_size,
            e=info.hidden_size,
            n=patches + info.num_prefix_tokens,
            cls=info.num_prefix_tokens,
        )


def lm(z: Sizes, s: int, learning: int, below: int | None = None) -> int:
    """The frozen LM on s positions, of whose layers the upper `learning` are in the graph.

    The layers below those may run on fewer positions.
    """
    layer, lower = (2 * z.b * n * z.w + 4 * z.b * n * n * z.a for n in (s, below or s))
    back = 2 * z.b * s * z.w + 8 * z.b * s * s * z.a
    head = 2 * z.r * z.d * z.v
    return (z.layers - learning) * lower + learning * (layer + back) + 2 * head


def text_only_labelled(z: Sizes) -> int:
    """The floor: to the embeddings and back, logits at labelled positions."""
    return lm(z, z.s, z.layers)


def text_only(z: Sizes) -> int:
    """The same with logits everywhere."""
    head = 2 * (z.b * z.s - z.r) * z.d * z.v
    return lm(z, z.s, z.layers) + 2 * head


def adem(z: Sizes, fusion: Any) -> int:
    """Two products of (s, d) with the memory (n, d) at every layer; `cls: false`."""
    n = z.t * sum(h * w for h, w in fusion.config.scales)
    inner, layers = fusion.config.hidden_size, len(list(fusion.layers(z.layers)))
    product = 2 * z.b * z.s * n * z.d
    projector = 4 * z.b * n * z.e * inner + 6 * z.b * n * inner * z.d
    # Forward two products, backward four; the first layer's query needs no gradient.
    return lm(z, z.s, z.layers - 1) + layers * 6 * product - product + projector


def evlm(z: Sizes, fusion: Any) -> int:
    """Gated layers on the text and the few tokens of each item, which the LM reads too."""
    n = z.t * (z.n if fusion.config.keep_cls else z.n - z.cls)
    s = z.s + z.t * fusion.config.num_tokens
    block = next(iter(fusion.blocks.values()))
    a, inner = block.attention.to_q.out_features, block.mlp.up.out_features
    maps = 2 * z.b * s * (2 * z.d * a + 2 * z.d * inner)
    attention = 4 * z.b * s * n * a
    keys = 2 * z.b * n * z.e * 2 * a  # of frozen features: no gradient goes on
    each = 3 * (maps + attention) + 2 * keys
    return lm(z, s, z.layers) + len(fusion.blocks) * each


def epalm(z: Sizes, fusion: Any) -> int:
    """A slot and a soft prompt more in the text, from the start on; `prompt_at: start`."""
    plan, width = fusion.schedule, fusion.config.prompt_length
    s = z.s + 1 + width
    connectors = 2 * 2 * z.b * plan.num_levels * z.e * z.d
    prompt = 3 * 2 * width * 2 * z.d * z.d if fusion.config.prompt_mlp else 0
    return lm(z, s, z.layers - plan.start, below=z.s) + connectors + prompt


def prefix(z: Sizes, fusion: Any) -> int:
    """Every media token is a position of the whole LM; `connector: mlp`."""
    n = z.t * (z.n if fusion.config.keep_cls else z.n - z.cls)
    connector = 2 * z.b * n * (2 * z.e * z.d + 3 * z.d * z.d)
    return lm(z, z.s + n, z.layers) + connector


FORMULAS: dict[str, Callable[[Sizes, Fusion], int]] = {
    "adem": adem,
    "evlm": evlm,
    "epalm": epalm,
    "prefix": prefix,
}
