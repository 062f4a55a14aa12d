"""The gated layer against an independent forward of Flamingo's block, written from its formulas."""

from __future__ import annotations

import math

import pytest
import torch

from mmadapt_evlm.block import GatedBlock
from mmadapt_evlm.config import EvlmConfig
from mmadapt_evlm.visibility import seen_by


def flamingo_block(w, x, media, text_time, heads, immediate):
    """x (b, s, d), media (b, t, n, e); text_time (b, s) counts the images met so far."""

    def norm(name, value):
        mean, var = value.mean(-1, keepdim=True), value.var(-1, unbiased=False, keepdim=True)
        return (value - mean) / (var + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    b, t, n, e = media.shape
    q = norm("attention.norm", x) @ w["attention.to_q.weight"].T
    k, v = (media.reshape(b, t * n, e) @ w["attention.to_kv.image.weight"].T).chunk(2, dim=-1)
    size = q.shape[-1] // heads
    image_of_key = torch.arange(t).repeat_interleave(n) + 1
    rows = []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        scores = torch.einsum("bsd,bkd->bsk", q[..., part], k[..., part]) / math.sqrt(size)
        if immediate:
            seen = text_time[:, :, None] == image_of_key
        else:
            seen = text_time[:, :, None] >= image_of_key
        weights = scores.exp() * seen
        total = weights.sum(-1, keepdim=True)
        weights = torch.where(total > 0, weights / total.clamp_min(1e-30), 0.0)
        rows.append(weights @ v[..., part])
    read = torch.cat(rows, dim=-1) @ w["attention.to_out.weight"].T
    x = x + math.tanh(w["attention_gate"]) * read
    hidden = norm("mlp_norm", x) @ w["mlp.up.weight"].T
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return x + math.tanh(w["mlp_gate"]) * (hidden @ w["mlp.down.weight"].T)


@pytest.mark.parametrize("immediate", [True, False])
def test_equals_flamingos_block(immediate):
    torch.manual_seed(0)
    config = EvlmConfig(head_dim=8, attention_ratio=1.0, mlp_ratio=4.0)
    block = GatedBlock(config, 32, {"image": 24})
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    x, media = torch.randn(2, 20, 32), torch.randn(2, 3, 5, 24)
    marks = torch.zeros(2, 20, dtype=torch.long)
    marks[0, [0, 7, 13]] = 1
    marks[1, [4, 5, 19]] = 1
    time = marks.cumsum(1)
    image = torch.arange(3).repeat_interleave(5) + 1
    mask = time[:, :, None] == image if immediate else time[:, :, None] >= image
    with torch.no_grad():
        kv = block.attention.keys_values({"image": media.flatten(1, 2)})
        mine, logits = block(x, kv, seen_by(mask, 0, torch.float32))
        expected = flamingo_block(dict(block.named_parameters()), x, media, time, 4, immediate)
    assert logits is None
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)
    assert (mine - x).abs().max() > 0.1


def test_a_row_that_sees_nothing_reads_exactly_zero_even_without_zero_pad():
    torch.manual_seed(0)
    block = GatedBlock(EvlmConfig(head_dim=8), 32, {"image": 24})
    kv = block.attention.keys_values({"image": torch.randn(1, 5, 24)})
    mask = torch.ones(1, 3, 5, dtype=torch.bool)
    mask[0, 1] = False
    x = torch.randn(1, 3, 32, requires_grad=True)
    read = block.attention(x, kv, seen_by(mask, 0, torch.float32))
    assert not read[0, 1].any()
    assert read[0, 0].abs().min() > 0
    read.sum().backward()
    assert torch.isfinite(x.grad).all() and not x.grad[0, 1].any()


@pytest.mark.parametrize("count", [1, 3])
def test_zero_pads_are_keys_of_logit_zero_for_everyone(count):
    torch.manual_seed(0)
    block = GatedBlock(EvlmConfig(head_dim=8, zero_pad=count), 32, {"image": 24})  # one head
    attention, media, x = block.attention, torch.randn(1, 5, 24), torch.randn(1, 3, 32)
    mask = torch.ones(1, 3, 5, dtype=torch.bool)
    mask[0, 1] = False
    kv = attention.keys_values({"image": media})
    q = attention.to_q(attention.norm(x))[0]
    k, v = attention.to_kv["image"](media)[0].chunk(2, dim=-1)
    scores = (q @ k.T / math.sqrt(8)).exp() * mask[0]
    expected = (scores / (count + scores.sum(-1, keepdim=True))) @ v  # softmax off by n
    seen = seen_by(mask, count, torch.float32)
    torch.testing.assert_close(
        attention(x, kv, seen)[0], expected @ attention.to_out.weight.T, atol=1e-6, rtol=0
    )
