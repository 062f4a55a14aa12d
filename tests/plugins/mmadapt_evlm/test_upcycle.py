"""Starting experts from a trained dense adapter: exactly, nearly, and through a recipe's option."""

from __future__ import annotations

import pytest
import torch

from mmadapt.checking.dry_run import dry_run
from mmadapt.composition import compose, load
from mmadapt.errors import AdapterError
from mmadapt.recipe import load_recipe
from mmadapt_evlm.config import MoeConfig
from mmadapt_evlm.mlp import Mlp
from mmadapt_evlm.moe import Moe, route
from mmadapt_evlm.upcycle import upcycle
from tests.plugins.mmadapt_evlm.makers import images, model_of

EXACT = {"start": "exact", "normalize": True, "scale": 4.0}
IDS, AT = torch.arange(4, 12)[None], torch.tensor([[1]])


def relative_error(seed, width=16, inner=48, **options):
    torch.manual_seed(seed)
    dense = Mlp(width, inner, "gelu")
    config = MoeConfig(**options)
    moe = Moe(config, width, inner, "gelu")
    upcycle(moe, dense.up.weight.detach(), dense.down.weight.detach(), config.start)
    x = torch.randn(2, 200, width)
    with torch.no_grad():
        expected, found = dense(x), moe(x)[0]
    return float((found - expected).norm() / expected.norm()), moe


@pytest.mark.parametrize("world", ["full", "slice", "none"])
def test_exact_start_is_the_dense_model(world):
    for seed in range(5):
        error, moe = relative_error(seed, world=world, **EXACT)
        assert error < 1e-5
        experts, _ = route(moe.router(torch.randn(100, 16)), 4, True)
        replicas = experts // 4
        assert (replicas == replicas[:, :1]).all()
        assert len(replicas.unique()) > 1


@pytest.mark.parametrize(("width", "inner"), [(16, 48), (512, 256)])
def test_a_copy_with_raw_gates_starts_near_the_dense_model(width, inner):
    errors = [relative_error(seed, width, inner)[0] for seed in range(5)]
    assert 0.01 < sum(errors) / 5 < 0.15


@pytest.mark.parametrize("other", [{"normalize": True}, {"router_std": 4.0}, {"world": "none"}])
def test_other_starts_lie_further_away(other):
    own, others = (sum(relative_error(s, **o)[0] for s in range(5)) for o in ({}, other))
    assert others > 2 * own


def test_replicas_are_equal_and_slices_sum_to_the_dense_part():
    torch.manual_seed(0)
    dense, moe = Mlp(16, 48, "gelu"), Moe(MoeConfig(), 16, 48, "gelu")
    upcycle(moe, dense.up.weight.detach(), dense.down.weight.detach(), "copy")
    x = torch.randn(10, 16)
    for replica in range(4):
        picks = (torch.arange(4) + 4 * replica).expand(10, -1)
        whole = moe.experts(x, picks, torch.ones(10, 4))
        torch.testing.assert_close(whole, dense(x), atol=1e-6, rtol=0)


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS, media={"image": images(1)}, media_positions=AT).logits


@pytest.fixture
def dense(tmp_path):
    model = model_of()
    model.save_pretrained(tmp_path / "run" / "adapter")
    return model, tmp_path / "run"


def test_a_model_starts_from_an_adapter_or_run_folder(dense):
    model, run = dense
    for folder in (run, run / "adapter"):
        started = model_of(moe={**EXACT, "upcycle_from": str(folder)}, seed=9, noise=0.0)
        torch.testing.assert_close(logits(started), logits(model), atol=1e-5, rtol=0)
    near = model_of(moe={"upcycle_from": str(run)}, seed=9, noise=0.0)
    assert 0 < (logits(near) - logits(model)).abs().max() < logits(model).abs().max()


def test_a_saved_model_with_experts_needs_the_dense_one_no_more(dense, tmp_path):
    _, run = dense
    first = model_of(moe={"upcycle_from": str(run)})
    tensors = first.adapter_state_dict()
    later = model_of(moe={"upcycle_from": str(tmp_path / "gone")}, seed=9)
    with pytest.raises(AdapterError, match="gone is no adapter folder; train the dense adapter"):
        logits(later)
    later.load_adapter_state_dict(tensors)
    assert torch.equal(logits(later), logits(first))


def test_an_adapter_that_does_not_fit_is_refused(dense):
    _, run = dense
    with pytest.raises(AdapterError, match="has no fusion 'other', only evlm"):
        model_of(moe={"upcycle_from": str(run)}, name="other")
    with pytest.raises(AdapterError, match=r"blocks\.0\.mlp\.up\.weight is \(16, 32\)"):
        model_of(moe={"upcycle_from": str(run)}, mlp_ratio=1.0)


def test_a_missing_dense_adapter_is_found_before_training(dense, tmp_path):
    _, run = dense
    moe = {"num_replicas": 2, "num_slices": 2, "top_k": 2, "upcycle_from": str(run)}
    parts = {
        "name": "parts",
        "lm": {"model": "embedded:lm"},
        "encoders": {"image": {"use": "vit", "model": "embedded:vit"}},
        "fusion": {"use": "evlm", "num_levels": 2, "moe": moe},
        "head": {"use": "caption"},
    }
    compose({**parts, "fusion": {"use": "evlm", "num_levels": 2}}).save_pretrained(tmp_path / "one")
    moe["upcycle_from"] = str(tmp_path / "one")
    first = compose(parts)
    first.save_pretrained(tmp_path / "two")
    (tmp_path / "one").rename(tmp_path / "gone")
    says = "one is no adapter folder; train the dense adapter"
    with pytest.raises(AdapterError, match=says):
        compose(parts)
    assert any(says in note for note in dry_run(load_recipe(parts)).notes)
    again = load(tmp_path / "two").adapter_state_dict()
    assert all(
        torch.equal(value, again[name]) for name, value in first.adapter_state_dict().items()
    )
