"""What is trained, what is refused, what is said of departures, and where slots stand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from mmadapt.contracts import EncoderInfo, FusionContext, Head
from mmadapt.errors import AttachError, RecipeError
from mmadapt.model import MultimodalModel
from mmadapt.types import Features, TextInputs
from mmadapt_epalm.config import EpalmConfig
from mmadapt_epalm.fusion import EpalmFusion
from tests.tiny import TinyEncoder, context, tiny_lm

VIT_B = EncoderInfo("image", 768, 12, num_prefix_tokens=1)
VIT_L = EncoderInfo("image", 1024, 24, num_prefix_tokens=1)


def build(
    width: int = 2560, *infos: EncoderInfo, embedding: int | None = None, **options: Any
) -> EpalmFusion:
    encoders = {f"e{number}": info for number, info in enumerate(infos or (VIT_B,))}
    with torch.device("meta"):
        return EpalmFusion(
            EpalmConfig(**options),
            FusionContext("epalm", width, embedding or width, 32, 32, encoders),
        )


@pytest.mark.parametrize(
    ("width", "info", "options", "count"),
    [
        (2560, VIT_B, {}, 24_949_760),
        (4096, VIT_L, {"connectors": "shared", "prompt_mlp": False}, 4_239_360),
        (2560, VIT_B, {"connectors": "shared", "prompt_length": 0}, 1_968_640),
        (2560, VIT_B, {"connectors": "shared", "prompt_mlp": False}, 1_994_240),
        (
            2560,
            VIT_B,
            {"connectors": "shared", "prompt_mlp": False, "prompt_length": 1},
            1_971_200,
        ),
    ],
)
@pytest.mark.parametrize("mode", ["causal", "published"])
def test_trained_parameters(
    mode: str, width: int, info: EncoderInfo, options: dict[str, Any], count: int
) -> None:
    fusion = build(width, info, mode=mode, **options)
    assert sum(parameter.numel() for parameter in fusion.parameters()) == count


def test_the_soft_prompt_has_the_width_of_where_it_enters() -> None:
    """OPT-350M: token embeddings of 512, hidden states of 1024."""
    for at, width in (("input", 512), ("start", 1024)):
        fusion = build(1024, embedding=512, prompt_at=at)
        assert fusion.prompt is not None
        assert fusion.prompt.embedding.weight.shape == (10, width)


def test_levels_are_the_last_blocks_shallow_to_deep_and_normed() -> None:
    specs = build().levels(VIT_B)
    assert [spec.block for spec in specs] == [6, 7, 8, 9, 10, 11]
    assert all(spec.normed for spec in specs)


@pytest.mark.parametrize(
    ("infos", "options", "says"),
    [
        ([EncoderInfo("audio", 384, 4)], {}, "'e0' does not have; set pool: mean"),
        ([VIT_B, EncoderInfo("image", 768, 4, 1, 1)], {"levels": 6}, "'e1' has only 4 blocks"),
    ],
)
def test_refused(infos: list[EncoderInfo], options: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        build(2560, *infos, **options)


def test_unknown_options_are_refused() -> None:
    for options in ({"layers": 3}, {"mode": "leaky"}, {"prompt_length": -1}, {"interval": 0}):
        with pytest.raises(ValidationError):
            EpalmConfig.model_validate(options)


def test_an_encoder_is_needed() -> None:
    with pytest.raises(RecipeError, match="serves no encoder"):
        EpalmFusion(EpalmConfig(), FusionContext("epalm", 8, 8, 4, 2, {}))


def test_attention_whose_masks_cannot_be_edited_is_refused_by_name() -> None:
    lm = tiny_lm("llama")
    lm.config._attn_implementation = "flash_attention_2"
    encoder = TinyEncoder()
    fusion = EpalmFusion(EpalmConfig(), context(lm, {"image": encoder}))
    with pytest.raises(AttachError, match=r"'flash_attention_2'.*'sdpa' or 'eager'"):
        MultimodalModel(lm, None, {"image": encoder}, [fusion], Head(None))


def inserted(fusion: EpalmFusion, items: list[list[int]] | None) -> TextInputs:
    """Two texts, the first padded on the left; 0 is what stands at inserted places."""
    ids = torch.tensor([[9, 5, 6], [7, 8, 4]])
    text = TextInputs(
        ids, torch.tensor([[False, True, True], [True, True, True]]), None, ids[:, :1]
    )
    if items is None:
        return fusion.embeds(text, {})
    item = torch.tensor(items)
    found = Features((), (item >= 0)[..., None], item)
    return fusion.embeds(text, {"e0": found})


def real(width: int = 8, **options: Any) -> EpalmFusion:
    context = FusionContext("epalm", width, width, 32, 2, {"e0": VIT_B})
    return EpalmFusion(EpalmConfig(**options), context)


def test_slots_and_prompt_stand_before_the_text_without_positions() -> None:
    text = inserted(real(prompt_length=2), [[0], [-1]])
    assert text.input_ids.tolist() == [[9, 0, 0, 0, 5, 6], [0, 0, 0, 7, 8, 4]]
    assert text.spans["epalm"].tolist() == [[0, 1, 2, 3, 0, 0], [0, 2, 3, 0, 0, 0]]
    assert text.attention_mask.tolist() == [[False] + [True] * 5, [False] + [True] * 5]
    assert text.positionless is not None
    assert text.positionless.tolist() == [
        [False, *[True] * 3, False, False],
        [True] * 3 + [False] * 3,
    ]


def test_items_have_slots_of_their_own() -> None:
    text = inserted(real(prompt_length=0, slots="item"), [[0, 1], [0, -1]])
    assert text.spans["epalm"].tolist() == [[0, 1, 2, 0, 0], [1, 0, 0, 0, 0]]


def test_a_batch_without_media_has_only_the_prompt() -> None:
    assert inserted(real(prompt_length=1), None).input_ids.shape == (2, 4)
    assert inserted(real(prompt_length=0), None).input_ids.shape == (2, 3)


@torch.no_grad()
def test_encoders_keep_their_slots_whatever_the_order_in_the_batch() -> None:
    lm, encoders = tiny_lm("llama"), {"a": TinyEncoder(), "b": TinyEncoder(width=16)}
    fusion = EpalmFusion(EpalmConfig(), context(lm, encoders))
    model = MultimodalModel(lm, None, encoders, [fusion], Head(None)).eval()
    media = {name: encoder.inputs(2) for name, encoder in encoders.items()}
    media["a"]["item"][0] = media["b"]["item"][1] = -1
    ids = torch.tensor([[5, 6, 7], [8, 9, 4]])
    logits = [
        model(ids, media=dict(order)).logits for order in (media.items(), [*media.items()][::-1])
    ]
    assert torch.equal(*logits)


@pytest.mark.parametrize(("at", "reach"), [("input", True), ("start", False)])
def test_where_the_backward_pass_ends(at: str, reach: bool) -> None:
    """A soft prompt at the input puts the layers below start in the graph; at start it does not."""
    lm, encoder = tiny_lm("llama"), TinyEncoder()
    fusion = EpalmFusion(EpalmConfig(prompt_at=at, start=2), context(lm, {"image": encoder}))
    model = MultimodalModel(lm, None, {"image": encoder}, [fusion], Head(None))
    grads = []
    lm.model.layers[1].register_forward_hook(lambda *a: grads.append(a[2].requires_grad))
    lm.model.layers[2].register_forward_hook(lambda *a: grads.append(a[2].requires_grad))
    model(torch.tensor([[5, 6, 7]]), media={"image": encoder.inputs(1)})
    assert grads == [reach, True]


def test_the_soft_prompts_own_learning_rate() -> None:
    assert build().param_groups(1e-3, 0.1) is None
    fusion = build(prompt_learning_rate=1e-5)
    groups = fusion.param_groups(1e-3, 0.1)
    assert groups is not None
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(1e-3, 0.1), (1e-5, 0.1)]
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in fusion.parameters())


def test_published_settings_depart_in_nothing() -> None:
    assert build(mode="published").departures() == []
    shared = {"connectors": "shared", "prompt_mlp": False}
    assert build(4096, VIT_L, mode="published", **shared).departures() == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "causal", "end": 31}, "leaks"),
        ({"end": 32}, "layers 19 to 31 of 32"),
        ({"start": 20}, "layers 20 to 30 of 32"),
        ({"levels": 3}, "levels: 3 instead of the published 6"),
        ({"interval": 2}, "divisible by 2"),
        ({"prompt_length": 1}, "prompt_length: 1"),
        ({"prompt_mlp": False}, "shared connector"),
        ({"prompt_at": "start"}, "at the input"),
        ({"pool": "mean"}, "averaged over their tokens"),
    ],
)
def test_departures(options: dict[str, Any], says: str) -> None:
    found = build(**{"mode": "published", **options}).departures()
    assert any(says in sentence for sentence in found), found


def test_departures_of_encoders() -> None:
    frames = EncoderInfo("video", 768, 12, num_items=8, num_prefix_tokens=1)
    found = build(2560, VIT_B, frames, mode="published").departures()
    assert len(found) == 2
    assert "8 items of 'e1' are averaged into one slot" in found[0]
    assert "e0, e1 have a slot each" in found[1]
