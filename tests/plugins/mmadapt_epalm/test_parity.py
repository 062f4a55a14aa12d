"""`mode: published` against an independent forward; what it leaks, and the default does not.

Shapes: 8 layers of width 32, 4 heads, vocabulary 96, two rows of 6 tokens of which one is padded.
Tolerances in float32: logits (of the order of 0.5) 1e-6, losses and gradients 1e-5.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import OPTConfig, OPTForCausalLM

from mmadapt.contracts import Head
from mmadapt.model import MultimodalModel
from mmadapt_epalm.config import EpalmConfig
from mmadapt_epalm.fusion import EpalmFusion
from tests.plugins.mmadapt_epalm.published import published_logits, published_loss, soft_prompt
from tests.tiny import TinyEncoder, context

PUBLISHED = {"mode": "published", "levels": 3, "start": 1, "end": 7, "prompt_length": 4}
SHARED = {"connectors": "shared", "prompt_mlp": False}
DEPTH = 8


def opt(attention: str = "sdpa", **changes: Any) -> OPTForCausalLM:
    options = {"word_embed_proj_dim": 32, **changes}
    config = OPTConfig(
        vocab_size=96,
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=DEPTH,
        num_attention_heads=4,
        max_position_embeddings=64,
        attn_implementation=attention,
        **options,
    )
    config.eos_token_id = None
    lm = OPTForCausalLM(config)
    lm.generation_config.eos_token_id = None
    return lm


def join(lm: OPTForCausalLM, *, depth: int = 8, **options: Any) -> MultimodalModel:
    encoder = TinyEncoder(depth=depth, side=2)
    fusion = EpalmFusion(EpalmConfig(**options), context(lm, {"image": encoder}, "epalm"))
    return MultimodalModel(lm, None, {"image": encoder}, [fusion], Head(None)).eval()


def batch(model: MultimodalModel, rows: int = 2, padded: int = 2) -> dict[str, Any]:
    ids = torch.randint(4, 96, (rows, 6))
    mask = torch.ones_like(ids)
    if padded:
        ids[-1, -padded:], mask[-1, -padded:] = 1, 0
    media = {"image": model.encoders["image"].inputs(rows)}
    return {"input_ids": ids, "attention_mask": mask, "media": media}


def expected(model: MultimodalModel, given: dict[str, Any], **options: Any) -> Tensor:
    """The published logits, differentiable in the fusion's parameters."""
    fusion, encoder = model.fusions["epalm"], model.encoders["image"]
    assert isinstance(fusion, EpalmFusion) and isinstance(encoder, TinyEncoder)
    weights, config = dict(fusion.named_parameters()), fusion.config
    states, x = [], given["media"]["image"]["values"][:, 0]
    for block in encoder.blocks:
        x = x + block(x)
        states.append(encoder.norm(x)[:, 0])
    assert config.levels is not None and config.start is not None and config.end is not None
    vectors = []
    for j, state in enumerate(states[-config.levels :]):
        own = f"connectors.image.{j if config.connectors == 'separate' else 0}"
        vectors.append(state @ weights[f"{own}.weight"].T + weights[f"{own}.bias"])
    empty = torch.zeros(0, fusion.context.embedding_size)
    return published_logits(
        model.lm.state_dict(),
        4,
        given["input_ids"],
        given["attention_mask"],
        vectors,
        soft_prompt(weights) if config.prompt_length else empty,
        config.start,
        config.end,
        config.interval,
    )


def gradients(model: MultimodalModel, loss: Tensor) -> dict[str, Tensor]:
    trained = model.trainable_parameters()
    return dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "separate, mlp": ({}, {}),
    "eager": ({"attention": "eager"}, {}),
    "shared, raw": ({}, SHARED),
    "one token, as in the abstract": ({}, {**SHARED, "prompt_length": 1}),
    "no prompt, one level": ({}, {"prompt_length": 0, "levels": 1}),
    "more levels than a step": ({}, {"levels": 6, "end": 8}),
    "every second layer": ({}, {"levels": 2, "interval": 2}),
    "350M: post-norm, narrow embeddings": (
        {"word_embed_proj_dim": 16, "do_layer_norm_before": False},
        {},
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_published(variant: str) -> None:
    torch.manual_seed(0)
    of_lm, of_fusion = VARIANTS[variant]
    model = join(opt(**of_lm), **{**PUBLISHED, **of_fusion})
    given = batch(model)
    want = expected(model, given)
    got = model(**given, return_logits="all").logits
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)

    ids, mask = given["input_ids"], given["attention_mask"]
    losses = [published_loss(logits, ids, mask) for logits in (got, want)]
    torch.testing.assert_close(*losses, rtol=0, atol=1e-5)
    found, wanted = (gradients(model, loss.sum() / 2 * 0.1) for loss in losses)
    assert all(gradient.any() for gradient in wanted.values())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_published_with_the_tolerance_of_large_weights() -> None:
    """Media and masks must matter more than the tolerance hides: weights of another order."""
    torch.manual_seed(0)
    model = join(opt(), **PUBLISHED)
    _enlarge(model.lm)
    given = batch(model)
    want = expected(model, given)
    torch.testing.assert_close(model(**given, return_logits="all").logits, want, rtol=0, atol=1e-5)
    other = {**given, "media": {"image": model.encoders["image"].inputs(2, seed=1)}}
    assert (expected(model, other)[:, 1:] - want[:, 1:]).abs().max() > 0.5


def test_loss_of_the_trainer_is_the_published_one_but_for_a_factor() -> None:
    """The mean over all text tokens times tokens / samples / 10 is the published batch loss."""
    torch.manual_seed(0)
    model = join(opt(), **PUBLISHED)
    given = batch(model)
    ids, mask = given["input_ids"], given["attention_mask"]
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, 0] = -100  # BOS is only an input
    published = published_loss(expected(model, given), ids, mask).sum() / 2 * 0.1
    tokens = (labels != -100).sum()
    mean = model(**given, labels=labels).loss
    torch.testing.assert_close(mean * tokens / 2 * 0.1, published, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("options", "leaks"),
    [
        ({"mode": "published", "end": 7}, True),
        ({"mode": "published", "end": 8}, False),
        ({"end": 7}, False),
        ({}, False),
    ],
)
def test_leak(options: dict[str, Any], leaks: bool) -> None:
    """One later token changed: earlier logits move where layers follow the published slot."""
    torch.manual_seed(0)
    model = join(opt(), levels=3, start=1, prompt_length=4, **options)
    given = batch(model, padded=0)
    before = model(**given, return_logits="all").logits
    changed = given["input_ids"].clone()
    changed[:, 4] = (changed[:, 4] + 1) % 90 + 4
    after = model(**{**given, "input_ids": changed}, return_logits="all").logits
    assert not torch.equal(before[:, 9:], after[:, 9:])
    assert torch.equal(before[:, 1:9], after[:, 1:9]) != leaks
    assert leaks or torch.equal(before[:, 1:9], after[:, 1:9])


@torch.no_grad()
def test_published_generation_is_exact_without_a_cache() -> None:
    """Every step is the published forward of all tokens so far, even where a cache is asked for."""
    torch.manual_seed(0)
    model = join(opt(), **PUBLISHED)
    _enlarge(model.lm)
    given = batch(model, rows=1, padded=0)
    ids, mask = given["input_ids"], given["attention_mask"]
    for _ in range(16):
        row = {**given, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
        ids = torch.cat([ids, expected(model, row)[:, -1:].argmax(dim=2)], dim=1)
    new = model.generate_batch(ids[:, :6], mask, given["media"], max_new_tokens=16, use_cache=True)
    assert torch.equal(new, ids[:, 6:])
    assert len(set(new[0].tolist())) > 4


def test_layers_below_start_are_those_of_the_frozen_lm() -> None:
    """Without a prompt nothing below start changes, and the slot is not even there."""
    torch.manual_seed(0)
    lm = opt()
    seen: list[Tensor] = []
    handle = lm.model.decoder.layers[3].register_forward_hook(lambda *a: seen.append(a[2]))
    model = join(lm, start=4, prompt_length=0)
    given = batch(model)
    real = given["attention_mask"].bool()
    model(**given)
    model.attachment.detach()
    lm(given["input_ids"], given["attention_mask"])
    handle.remove()
    torch.testing.assert_close(seen[0][real], seen[1][real], rtol=0, atol=1e-6)


def _enlarge(lm: nn.Module) -> None:
    with torch.no_grad():
        for parameter in lm.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.25)
