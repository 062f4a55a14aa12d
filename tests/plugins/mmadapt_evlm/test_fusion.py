"""The fusion in an LM: shut gates, gradients, levels, sizes and checks."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from mmadapt.contracts import EncoderInfo, FusionContext
from mmadapt.errors import RecipeError
from mmadapt.types import Features
from mmadapt_evlm.config import EvlmConfig
from mmadapt_evlm.fusion import EvlmFusion
from mmadapt_evlm.layout import encoder_blocks, layer_levels
from tests.plugins.mmadapt_evlm.makers import SMALL, images, model_of

IDS = torch.arange(4, 12).repeat(2, 1)
AT = torch.tensor([[1, 4], [2, -1]])
FILES = [[0, 1], [0, -1]]


def published(**options):
    info = EncoderInfo("image", 1792, 64, num_prefix_tokens=1, grid=(16, 16))
    context = FusionContext("evlm", 5120, 5120, 40, 40, {"image": info})
    with torch.device("meta"):
        return EvlmFusion(EvlmConfig(**options), context)


def counts(fusion):
    """Parameters of gates, norms, learnable tokens, and all others."""
    kinds = {"gates": 0, "norms": 0, "tokens": 0, "projections": 0}
    for name, parameter in fusion.named_parameters():
        kind = "tokens" if name.startswith("tokens.") else "projections"
        kind = "gates" if name.endswith("_gate") else "norms" if "norm" in name else kind
        kinds[kind] += parameter.numel()
    return kinds


def test_published_sizes():
    assert counts(published()) == {
        "projections": 40 * (2 * 5120 * 1024 + 1792 * 2 * 1024 + 2 * 5120 * 2560),
        "gates": 80,
        "norms": 40 * 2 * 2 * 5120,
        "tokens": 16 * 5120,
    }
    assert counts(published())["projections"] == 1_614_807_040
    experts = counts(published(moe={}))["projections"]
    dense_mlp = 2 * 5120 * 2560
    assert experts == 1_614_807_040 + 40 * (4 * dense_mlp + 16 * 5120)
    assert published().departures() == []


def test_levels_of_the_published_encoder():
    one_based = {
        "end": [29, 34, 39, 44, 49, 54, 59, 64],
        "start": [25, 30, 35, 40, 45, 50, 55, 60],
        "linspace": [25, 31, 36, 42, 47, 53, 58, 64],
    }
    for phase, blocks in one_based.items():
        assert [b + 1 for b in encoder_blocks(EvlmConfig(phase=phase), 64)] == blocks
    specs = published().levels(EncoderInfo("image", 1792, 64))
    assert not any(spec.normed for spec in specs)


def test_which_layer_reads_which_level():
    contiguous = layer_levels(EvlmConfig(), 40)
    assert contiguous == {i: i // 5 for i in range(40)}
    assert layer_levels(EvlmConfig(level_map="round_robin"), 40) == {i: i % 8 for i in range(40)}
    assert layer_levels(EvlmConfig(num_levels=2, every=2), 8) == {1: 0, 3: 0, 5: 1, 7: 1}
    assert layer_levels(EvlmConfig(every=2, level_map=[5, 0]), 4) == {1: 5, 3: 0}
    assert set(layer_levels(EvlmConfig(levels="concat"), 4).values()) == {0}


def test_every_layer_reads_its_own_level():
    model = model_of(level_map=[1, 0, 1, 0], num_levels=2).eval()
    fusion, info = model.fusions["evlm"], EncoderInfo("image", 24, 6, num_prefix_tokens=1)
    shape = (1, 1, 17, 24)
    levels = tuple(torch.randn(shape) for _ in fusion.levels(info))
    seen = torch.ones(shape[:3], dtype=torch.bool)
    features = {"image": Features(levels, seen, torch.zeros(1, 1, dtype=torch.long), 1, (4, 4))}
    text = fusion.embeds(model.fused_text(IDS[:1], None, None, None, {"evlm": {}}), features)
    from mmadapt.types import State

    memory = fusion.prepare(features, State(text))
    for i, level in {0: 1, 1: 0, 2: 1, 3: 0}.items():
        expected = fusion.blocks[str(i)].attention.keys_values({"image": levels[level][0]})
        assert all(map(torch.equal, memory["keys_values"][i], expected))


def test_shut_gates_give_the_lms_own_logits_bit_for_bit():
    model = model_of(noise=0.0, moe={}).eval()
    media = {"image": images(2, rows=2, files=FILES)}
    with torch.no_grad():
        output = model(IDS, media=media, media_positions=AT)
        state_embeds = model.lm.get_input_embeddings()(output.text.input_ids)
        own = output.text.spans["evlm"][..., None] > 0
        embeds = torch.where(own, output.text.embeds, state_embeds)
        mask = output.text.attention_mask
        positions = (mask.long().cumsum(1) - 1).clamp_min(0)
        model.attachment.detach()
        base = model.lm(inputs_embeds=embeds, attention_mask=mask.long(), position_ids=positions)
    real = output.text.attention_mask
    assert real.sum().item() == 16 + 6 and own.sum().item() == 6
    assert torch.equal(output.logits[real], base.logits[real])


def test_at_first_only_the_gates_and_the_tokens_learn():
    model = model_of(noise=0.0).train()
    media = {"image": images(2, rows=2, files=FILES)}
    model(IDS, media=media, media_positions=AT, labels=IDS).loss.backward()
    for name, parameter in model.fusions["evlm"].named_parameters():
        learns = name.endswith("_gate") or name.startswith("tokens.")
        assert bool(parameter.grad.any()) == learns, name
        assert not name.endswith("_gate") or parameter.dtype == torch.float32


@pytest.mark.parametrize("moe", [None, {"z_loss_coefficient": 0.01}])
def test_its_own_checkpointing_gives_the_same_gradients(moe):
    found = []
    for option in (False, True):
        model = model_of(gradient_checkpointing=option, moe=moe).train()
        calls = []
        attention = model.fusions["evlm"].blocks["0"].attention
        attention.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        media = {"image": images(2, rows=2, files=FILES)}
        model(IDS, media=media, media_positions=AT, labels=IDS).loss.backward()
        assert len(calls) == 1 + option
        found.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-5)


def test_kept_and_recomputed_keys_and_values_agree_through_generation():
    texts = []
    for cache_kv in (True, False):
        model = model_of(cache_kv=cache_kv, media_norm="layernorm", levels="concat")
        media = {"image": images(2, rows=2, files=FILES)}
        texts.append(model.generate_batch(IDS, None, media, AT, max_new_tokens=16, num_beams=3))
    assert torch.equal(*texts)
    assert len(set(texts[0][0].tolist())) > 3


@pytest.mark.parametrize("visible", ["video_all", "immediate", "all_previous"])
def test_what_is_generated_sees_what_text_there_would_see(visible):
    model = model_of(visible=visible)
    media = {"image": images(2, rows=2, files=FILES)}
    output = model.generate_batch(
        IDS, None, media, AT, max_new_tokens=16, output_logits=True, return_dict_in_generate=True
    )
    whole = torch.cat([IDS, output.sequences], dim=1)
    with torch.no_grad():
        forward = model(whole, media=media, media_positions=AT)
    steps = torch.stack(output.logits, dim=1)
    for row, real in enumerate(forward.text.attention_mask):
        expected = forward.logits[row, real][-17:-1]
        torch.testing.assert_close(steps[row], expected, atol=1e-5, rtol=0)


def test_without_cls_the_prefix_is_dropped():
    model = model_of(keep_cls=False)
    values = Features((torch.randn(1, 1, 17, 24),), torch.ones(1, 1, 17).bool(), AT[:1, :1], 1)
    reduced = model.fusions["evlm"].reduce(values)
    assert torch.equal(reduced.levels[0], values.levels[0][:, :, 1:])
    assert reduced.mask.shape[2] == 16 and reduced.num_prefix_tokens == 0


def test_media_stay_out_of_bfloat16_lms_precision():
    model = model_of()
    model.lm.to(torch.bfloat16)
    media = {"image": images(2, rows=2, files=FILES)}
    output = model(IDS, media=media, media_positions=AT, labels=IDS)
    output.loss.backward()
    assert output.logits.dtype == torch.bfloat16
    assert model.fusions["evlm"].blocks["0"].attention_gate.grad.dtype == torch.float32


def test_decay_spares_gates_norms_and_tokens():
    fusion = model_of(moe={}, media_norm="layernorm").fusions["evlm"]
    names = {id(p): n for n, p in fusion.named_parameters()}
    with_decay, without = fusion.param_groups(1e-3, 0.05)
    assert (with_decay["weight_decay"], without["weight_decay"]) == (0.05, 0.0)
    spared = {names[id(p)] for p in without["params"]}
    assert all("norm" in n or "gate" in n or n.startswith("tokens") for n in spared)
    decayed = {names[id(p)] for p in with_decay["params"]}
    assert (
        "tokens.shared" in spared
        and "blocks.0.mlp.experts.up" in decayed
        and "blocks.0.mlp.router.weight" in decayed
    )
    assert len(decayed) + len(spared) == len(names)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"num_levels": 8}, "8 levels do not fit in the last 6 of the 6 blocks"),
        ({"every": 5}, "every: 5 leaves no gated layer"),
        ({"level_map": [0, 1]}, "level_map needs 4 levels from 0 to 1"),
        ({"level_map": [0, 1, 2, 1]}, "level_map needs 4 levels from 0 to 1"),
        ({"mlp_ratio": 0.53, "moe": {}}, "width 17 (mlp_ratio: 0.53) cannot be cut"),
    ],
)
def test_what_does_not_fit_is_named(options, part):
    with pytest.raises(RecipeError) as caught:
        model_of(**options)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("moe", "part"),
    [
        ({"start": "exact"}, "start: exact needs normalize: true, scale: 4.0"),
        ({"top_k": 17}, "top_k: 17 of only 16 experts"),
    ],
)
def test_experts_that_are_not_possible(moe, part):
    with pytest.raises(ValidationError, match=part):
        EvlmConfig(moe=moe)


def test_every_other_choice_is_a_departure():
    fusion = model_of(zero_pad=2, phase="start", visible="immediate", moe={"world": "slice"})
    told = "\n".join(fusion.fusions["evlm"].departures())
    for sentence in (
        "num_levels: 2; published is 8.",
        "zero_pad: 2; our default, the paper being silent, is 0.",
        'phase: "start"; our default, the paper being silent, is "end".',
        'visible: "immediate"; published is "video_all".',
        'moe.world: "slice"; our default, the paper being silent, is "full".',
        "Encoder 'image' has 6 blocks of width 24",
    ):
        assert sentence in told
    assert "cache_kv" not in told
    assert "SMALL" not in told and set(SMALL) <= set(EvlmConfig.model_fields)
