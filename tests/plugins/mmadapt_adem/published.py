"""A tiny ADEM-VL whose every weight follows from a formula, joined from unmodified HF models.

The published code, run with the same weights and inputs on CPU in float32, gave the golden values
of `test_parity.py`. A weight of name number j, in the sorted list of the published parameter
names, holds v = sin(0.37 k + 1.3 j) at flat index k, scaled by its kind (`Weights`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from mmadapt.contracts import Encoder, FusionContext, Head, encoder_info
from mmadapt.model import MultimodalModel
from mmadapt.types import Features, LevelSpec, MediaInputs
from mmadapt_adem.config import AdemConfig
from mmadapt_adem.fusion import AdemFusion

WIDTH, MLP, LAYERS, HEADS, VOCAB = 64, 192, 3, 4, 97
VISION_WIDTH, VISION_BLOCKS, PATCH, SIDE = 1024, 3, 14, 4
PREFIXES = {"Image: ": [10, 11, 12], "Image: N/A": [10, 11, 13, 14, 15]}
DEFAULTS = {"scales": [(4, 4), (2, 2)], "hidden_size": 16, "bottleneck": 4, "gamma": 0.25}


def parameter_names(cls: bool) -> list[str]:
    """The sorted parameter names of the published model at this size; they number the fills."""
    both = ("weight", "bias")
    names = [
        "adapter_emb1",
        "adapter_emb2",
        "norm.weight",
        "output.weight",
        "tok_embeddings.weight",
    ]
    for projector in ["adapter_proj", "adapter_proj_cls"][: 1 + cls]:
        names += [f"{projector}.{layer}.{kind}" for layer in ("fc1", "fc2") for kind in both]
    text = ("logit_scale", "positional_embedding", "text_projection", "token_embedding.weight")
    names += [f"backbone.{name}" for name in (*text, "ln_final.weight", "ln_final.bias")]
    vision = ["class_embedding", "conv1.weight", "positional_embedding", "proj"]
    vision += [f"{norm}.{kind}" for norm in ("ln_pre", "ln_post") for kind in both]
    for block in range(VISION_BLOCKS):
        inside = [f"adapter_mlp.{layer}.weight" for layer in ("fc1", "fc2")]
        inside += ["attn.in_proj_weight", "attn.in_proj_bias"]
        modules = ("attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")
        inside += [f"{module}.{kind}" for module in modules for kind in both]
        vision += [f"transformer.resblocks.{block}.{name}" for name in inside]
    names += [f"backbone.visual.{name}" for name in vision]
    for layer in range(LAYERS):
        inside = [f"attention.{name}" for name in ("wq", "wk", "wv", "wo")]
        inside += [f"feed_forward.{name}" for name in ("w1", "w2", "w3")]
        inside += ["attention_norm", "ffn_norm"]
        names += [f"layers.{layer}.{name}.weight" for name in inside]
    return sorted(names)


class Weights:
    """Fills tensors by the published name of the parameter."""

    def __init__(self, cls: bool) -> None:
        self.number = {name: j for j, name in enumerate(parameter_names(cls))}

    def __call__(self, name: str, *shape: int) -> Tensor:
        v = _sine(self.number[name], shape)
        if len(shape) == 1 and name.endswith("weight") and ("norm" in name or "ln_" in name):
            v = 1 + 0.02 * v
        elif name.startswith("adapter_emb"):
            v = 0.5 * v
        elif not name.startswith("tok_embeddings"):
            v = (0.02 if len(shape) == 1 and "adapter_mlp" not in name else 0.1) * v
        return v.float()


@cache
def _sine(number: int, shape: tuple[int, ...]) -> Tensor:
    k = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(0.37 * k + 1.3 * number).reshape(shape)


class ClipEncoder(Encoder):
    """An unmodified CLIP vision tower as an encoder."""

    modality = "image"

    def __init__(self) -> None:
        super().__init__()
        self.hidden_size, self.num_levels = VISION_WIDTH, VISION_BLOCKS
        self.num_prefix_tokens, self.grid = 1, (SIDE, SIDE)
        config = CLIPVisionConfig(
            hidden_size=VISION_WIDTH,
            intermediate_size=4 * VISION_WIDTH,
            num_hidden_layers=VISION_BLOCKS,
            num_attention_heads=VISION_WIDTH // 64,
            image_size=SIDE * PATCH,
            patch_size=PATCH,
        )
        with torch.device("meta"):
            self.tower = CLIPVisionModel(config)
        self.vision: Any = getattr(self.tower, "vision_model", self.tower)

    def forward(self, inputs: MediaInputs, levels: Sequence[LevelSpec]) -> Features:
        item = inputs["item"]
        hidden = self.vision.pre_layrnorm(self.vision.embeddings(inputs["values"].flatten(0, 1)))
        outputs = []
        for block in self.vision.encoder.layers:
            hidden = block(hidden, attention_mask=None)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            outputs.append(hidden)
        norm = self.vision.post_layernorm
        chosen = [norm(outputs[x.block]) if x.normed else outputs[x.block] for x in levels]
        mask = (item >= 0)[..., None].expand(*item.shape, hidden.shape[1])
        split = tuple(x.unflatten(0, item.shape) for x in chosen)
        return Features(split, mask, item, self.num_prefix_tokens, self.grid)

    def mlp(self, block: int) -> nn.Module:
        return self.vision.encoder.layers[block].mlp

    def keep_blocks(self, count: int) -> None:
        del self.vision.encoder.layers[count:]


def build_lm(weights: Weights) -> LlamaForCausalLM:
    """Transformers' own Llama with the published layout's weights."""
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
    )
    lm = LlamaForCausalLM(config)
    state = {
        "model.embed_tokens.weight": weights("tok_embeddings.weight", VOCAB, WIDTH),
        "model.norm.weight": weights("norm.weight", WIDTH),
        "lm_head.weight": weights("output.weight", VOCAB, WIDTH),
    }
    for i in range(LAYERS):
        old, new = f"layers.{i}", f"model.layers.{i}"
        for letter in "qkvo":
            w = weights(f"{old}.attention.w{letter}.weight", WIDTH, WIDTH)
            state[f"{new}.self_attn.{letter}_proj.weight"] = _halves(w) if letter in "qk" else w
        for number, name in (("1", "gate"), ("3", "up"), ("2", "down")):
            shape = (WIDTH, MLP) if name == "down" else (MLP, WIDTH)
            w = weights(f"{old}.feed_forward.w{number}.weight", *shape)
            state[f"{new}.mlp.{name}_proj.weight"] = w
        state[f"{new}.input_layernorm.weight"] = weights(f"{old}.attention_norm.weight", WIDTH)
        state[f"{new}.post_attention_layernorm.weight"] = weights(f"{old}.ffn_norm.weight", WIDTH)
    lm.load_state_dict(state)
    return lm


def _halves(weight: Tensor) -> Tensor:
    """From rotary pairs that are neighbours to transformers' two halves."""
    return weight.view(HEADS, WIDTH // HEADS // 2, 2, WIDTH).transpose(1, 2).reshape(WIDTH, WIDTH)


def build_encoder(weights: Weights) -> ClipEncoder:
    """Transformers' own CLIP tower; its last block, which is never read, stays empty."""
    encoder, e, visual = ClipEncoder(), VISION_WIDTH, "backbone.visual"
    state = {
        "embeddings.class_embedding": weights(f"{visual}.class_embedding", e),
        "embeddings.patch_embedding.weight": weights(f"{visual}.conv1.weight", e, 3, PATCH, PATCH),
        "embeddings.position_embedding.weight": weights(
            f"{visual}.positional_embedding", SIDE**2 + 1, e
        ),
    }
    for new, old in (("pre_layrnorm", "ln_pre"), ("post_layernorm", "ln_post")):
        for kind in ("weight", "bias"):
            state[f"{new}.{kind}"] = weights(f"{visual}.{old}.{kind}", e)
    for i in range(VISION_BLOCKS - 1):
        old, new = f"{visual}.transformer.resblocks.{i}", f"encoder.layers.{i}"
        for kind, shape in (("weight", (3 * e, e)), ("bias", (3 * e,))):
            parts = weights(f"{old}.attn.in_proj_{kind}", *shape).chunk(3)
            for letter, part in zip("qkv", parts, strict=True):
                state[f"{new}.self_attn.{letter}_proj.{kind}"] = part
        for theirs, name, out, inner in (
            ("self_attn.out_proj", "attn.out_proj", e, e),
            ("mlp.fc1", "mlp.c_fc", 4 * e, e),
            ("mlp.fc2", "mlp.c_proj", e, 4 * e),
        ):
            state[f"{new}.{theirs}.weight"] = weights(f"{old}.{name}.weight", out, inner)
            state[f"{new}.{theirs}.bias"] = weights(f"{old}.{name}.bias", out)
        for number in (1, 2):
            for kind in ("weight", "bias"):
                w = weights(f"{old}.ln_{number}.{kind}", e)
                state[f"{new}.layer_norm{number}.{kind}"] = w
    missing = encoder.vision.load_state_dict(state, strict=False, assign=True).missing_keys
    assert all(f"layers.{VISION_BLOCKS - 1}." in key for key in missing), missing
    embeddings = encoder.vision.embeddings
    embeddings.position_ids = torch.arange(SIDE**2 + 1).expand(1, -1)
    encoder.vision.encoder.layers[-1].to_empty(device="cpu")
    return encoder


def fill_fusion(fusion: AdemFusion, weights: Weights) -> None:
    """Gives the fusion's parameters their published names' values."""
    memory: Any = fusion.memories["image"]
    named = {"adapter_emb1": memory.key_table, "adapter_emb2": memory.value_table}
    projectors = {"adapter_proj": memory.projector}
    if fusion.config.cls:
        projectors["adapter_proj_cls"] = memory.cls_projector
    for old, projector in projectors.items():
        named |= {f"{old}.{name}": p for name, p in projector.named_parameters()}
    for name, p in fusion.bottlenecks["image"].named_parameters():
        block, _, rest = name.partition(".")
        named[f"backbone.visual.transformer.resblocks.{block}.adapter_mlp.{rest}"] = p
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(weights(name, *p.shape))


def build_model(**options: Any) -> MultimodalModel:
    """The composed model in eval mode; `options` change the fusion's."""
    config = AdemConfig(**{**DEFAULTS, **options})
    weights = Weights(config.cls)
    lm, encoder = build_lm(weights), build_encoder(weights)
    infos = {"image": encoder_info(encoder)}
    context = FusionContext("adem", WIDTH, WIDTH, LAYERS, HEADS, infos, PREFIXES.__getitem__)
    fusion = AdemFusion(config, context)
    fill_fusion(fusion, weights)
    return MultimodalModel(lm, None, {"image": encoder}, [fusion], Head(None)).eval()


def media() -> dict[str, MediaInputs]:
    """One picture for the first sample, none for the second."""
    pixels = torch.sin(0.01 * torch.arange(3 * (SIDE * PATCH) ** 2, dtype=torch.float64))
    picture = pixels.float().view(1, 1, 3, SIDE * PATCH, SIDE * PATCH)
    values = torch.cat([picture, torch.zeros_like(picture)])
    return {"image": {"values": values, "item": torch.tensor([[0], [-1]])}}


def batch() -> dict[str, Any]:
    """Two samples of 12 and 15 ids, supervised from places 7 and 9 on."""
    ids, labels = torch.zeros(2, 24, dtype=torch.long), torch.full((2, 24), -100)
    for b, (prompt, total) in enumerate([(7, 12), (9, 15)]):
        text = [1] + [3 + (5 * i + 7 * b) % 90 for i in range(total - 2)] + [2]
        ids[b, :total] = torch.tensor(text)
        labels[b, prompt:total] = ids[b, prompt:total]
    return {
        "input_ids": ids,
        "attention_mask": (ids > 0).long(),
        "labels": labels,
        "media": media(),
        "media_positions": torch.tensor([[1], [-1]]),
    }
