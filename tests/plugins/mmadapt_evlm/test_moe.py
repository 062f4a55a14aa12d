"""Experts, routers and losses against the classes of transformers with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import pad
from transformers import MixtralConfig, NemotronHConfig, Qwen2MoeConfig
from transformers.models.mixtral.modeling_mixtral import (
    MixtralTopKRouter,
    load_balancing_loss_func,
)
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHExperts
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeTopKRouter
from transformers.models.switch_transformers.modeling_switch_transformers import (
    router_z_loss_func,
)

from mmadapt_evlm.config import MoeConfig
from mmadapt_evlm.losses import balance_loss, z_loss
from mmadapt_evlm.moe import Moe, route

WIDTH, INNER = 16, 48


def make(seed=0, **options):
    torch.manual_seed(seed)
    return Moe(MoeConfig(router_std=4.0, **options), WIDTH, INNER, "gelu")


def close(a, b, tolerance=1e-6):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


def test_routers_equal_mixtral_and_qwen2_moe():
    torch.manual_seed(0)
    x = torch.randn(50, WIDTH)
    options = {"num_experts_per_tok": 4, "hidden_size": WIDTH}
    mixtral = MixtralTopKRouter(MixtralConfig(num_local_experts=16, **options))
    qwen = Qwen2MoeTopKRouter(Qwen2MoeConfig(num_experts=16, norm_topk_prob=False, **options))
    for router, normalize in ((mixtral, True), (qwen, False)):
        moe = make(normalize=normalize)
        with torch.no_grad():
            router.weight.copy_(moe.router.weight)
        logits, gates, experts = router(x)
        mine = moe.router(x)
        close(mine, logits)
        own_experts, own_gates = route(mine, 4, normalize)
        assert torch.equal(own_experts, experts)
        close(own_gates, gates)


def test_experts_equal_those_of_nemotron_h():
    moe = make()
    config = NemotronHConfig(
        hidden_size=WIDTH, n_routed_experts=16, moe_intermediate_size=12, mlp_hidden_act="gelu"
    )
    config._experts_implementation = "eager"
    theirs = NemotronHExperts(config)
    with torch.no_grad():
        theirs.up_proj.copy_(moe.experts.up)
        theirs.down_proj.copy_(moe.experts.down)
    x = torch.randn(50, WIDTH, requires_grad=True)
    experts, gates = route(moe.router(x).detach(), 4, False)
    mine, expected = moe.experts(x, experts, gates), theirs(x, experts, gates)
    close(mine, expected)
    own, other = (torch.autograd.grad(y.square().sum(), x)[0] for y in (mine, expected))
    close(own, other, 1e-5)


def test_no_token_is_dropped_when_all_choose_the_same_experts():
    moe = make(world="none")
    with torch.no_grad():
        moe.router.weight.copy_(torch.arange(16.0)[:, None].expand(-1, WIDTH))
    x = torch.rand(1, 9, WIDTH)
    together = moe(x)[0]
    alone = torch.cat([moe(x[:, i : i + 1])[0] for i in range(9)], dim=1)
    close(together, alone)
    assert together.abs().amin(dim=2).min() > 0


def test_the_world_expert_and_the_scale():
    moe = make(scale=3.0)
    x = torch.randn(1, 5, WIDTH)
    experts, gates = route(moe.router(x[0]), 4, False)
    expected = 3.0 * moe.experts(x[0], experts, gates) + moe.world(x[0])
    close(moe(x)[0][0], expected)
    assert moe.world.up.out_features == INNER
    assert make(world="slice").world.up.out_features == INNER // 4
    assert make(world="none").world is None


@pytest.mark.parametrize("layers", [1, 3])
def test_balance_loss_equals_that_of_transformers(layers):
    torch.manual_seed(0)
    logits = [torch.randn(2, 30, 16) * (1 + layer) for layer in range(layers)]
    mask = torch.rand(2, 30) > 0.3
    real = [layer[mask] for layer in logits]
    flat = tuple(layer.flatten(0, 1) for layer in logits)
    close(balance_loss(real, 4, "hf_pooled"), load_balancing_loss_func(flat, 16, 4, mask))
    single = [load_balancing_loss_func((layer,), 16, 4, mask) for layer in flat]
    close(balance_loss(real, 4, "per_layer"), torch.stack(single).mean())
    differ = balance_loss(real, 4, "hf_pooled") - balance_loss(real, 4, "per_layer")
    assert (differ.abs() > 1e-3) == (layers > 1)


def test_even_load_has_the_loss_top_k():
    picks = torch.eye(16)[torch.arange(16)]
    even = sum(torch.roll(picks, k, dims=1) for k in range(4)) * 1e-6
    close(balance_loss([even], 4, "per_layer"), torch.tensor(4.0), 1e-4)


def test_z_loss_equals_that_of_transformers():
    torch.manual_seed(0)
    logits = torch.randn(3, 20, 16)
    close(z_loss([logits.flatten(0, 1)]), router_z_loss_func(logits))


@pytest.mark.parametrize("balance", ["per_layer", "hf_pooled", "none"])
def test_the_models_loss_holds_the_routers_losses_without_padding(balance):
    from tests.plugins.mmadapt_evlm.makers import images, model_of

    moe = {"balance": balance, "balance_coefficient": 0.5, "z_loss_coefficient": 0.25}
    model = model_of(moe=moe).train()
    ids = torch.arange(4, 12)[None]
    media, at = {"image": images(1)}, torch.tensor([[1]])
    loss = model(ids, media=media, media_positions=at, labels=ids).loss
    layers = model.attachment.state.aux["evlm"]
    assert sorted(layers) == [0, 1, 2, 3]
    flat = tuple(layers[i].flatten(0, 1) for i in range(4))
    balanced = {
        "hf_pooled": load_balancing_loss_func(flat, 16, 4),
        "per_layer": torch.stack([load_balancing_loss_func((f,), 16, 4) for f in flat]).mean(),
        "none": torch.tensor(0.0),
    }[balance]
    small = torch.stack([router_z_loss_func(f[None]) for f in flat]).mean()
    plain = model.eval()(ids, media=media, media_positions=at, labels=ids).loss
    close(loss - plain, 0.5 * balanced + 0.25 * small, 1e-5)
    padded, mask = pad(ids, (0, 3), value=7), pad(torch.ones_like(ids), (0, 3))
    labels = pad(ids, (0, 3), value=-100)
    model.train()
    again = model(padded, mask, media=media, media_positions=at, labels=labels).loss
    close(again, loss, 1e-5)
    again.backward()
    assert model.fusions["evlm"].blocks["0"].mlp.router.weight.grad.any()
