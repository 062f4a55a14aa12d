"""Published sizes, refusals with a way on, and how a configuration says it departs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from mmadapt.contracts import EncoderInfo, FusionContext
from mmadapt.errors import RecipeError
from mmadapt.registry import get_registry
from mmadapt.types import Features, LevelSpec
from mmadapt_adem.config import AdemConfig
from mmadapt_adem.fusion import AdemFusion

CLIP_L = EncoderInfo("image", 1024, 24, num_prefix_tokens=1, grid=(16, 16))


def make(info: EncoderInfo = CLIP_L, width: int = 64, **options: Any) -> AdemFusion:
    context = FusionContext("adem", width, width, 32, 32, {"image": info})
    return AdemFusion(AdemConfig(**options), context)


@pytest.mark.parametrize(
    ("width", "options", "expected"),
    [
        (4096, {}, 4_530_432),
        (5120, {}, 5_449_984),
        (4096, {"scales": [(16, 16)], "cls": False}, 3_346_560),
        (4096, {"scales": [(16, 16)]}, 4_006_144),
    ],
)
def test_published_numbers_of_parameters(
    width: int, options: dict[str, Any], expected: int
) -> None:
    with torch.device("meta"):
        fusion = make(width=width, **options)
    assert sum(p.numel() for p in fusion.parameters()) == expected


def test_published_level_and_layers() -> None:
    fusion = make()
    assert fusion.levels(CLIP_L) == [LevelSpec(22, normed=True)]
    assert make(level=0).levels(CLIP_L) == [LevelSpec(0, normed=True)]
    assert list(fusion.layers(32)) == list(range(32))
    assert list(make(layers=[-1, 3, 3]).layers(32)) == [3, 31]


def test_weight_decay_as_published() -> None:
    fusion = make()
    decayed, plain = fusion.param_groups(1e-3, 0.02)
    names = {id(p): name for name, p in fusion.named_parameters()}
    assert decayed["weight_decay"] == 0.02 and plain["weight_decay"] == 0.0
    assert {names[id(p)].rsplit(".", 1)[-1] for p in plain["params"]} == {"bias"}
    tables = {"memories.image.key_table", "memories.image.value_table"}
    assert tables <= {names[id(p)] for p in decayed["params"]}
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"num_prefix_tokens": 0}, {}, "cls needs a CLS token, which encoder 'image' does not"),
        (
            {"grid": (8, 12)},
            {},
            r"finer than the 8 x 12 grid .* \[\[8, 12\], \[4, 6\]\]",
        ),
        ({"num_levels": 1}, {}, "level: -2 is not among the 1 blocks"),
        ({}, {"level": 24}, r"level: 24 .* \(-24 to 23\)"),
    ],
)
def test_what_an_encoder_cannot_give(
    changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    fields = {**CLIP_L.__dict__, **changes}
    with pytest.raises(RecipeError, match=message):
        make(EncoderInfo(**fields), **options)


def test_a_grid_known_only_from_features() -> None:
    info = EncoderInfo("audio", 6, 2, grid=None)
    fusion = make(info, scales=[(1, 4)], cls=False)
    shape = (1, 1, 8)
    tokens = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 1, 8, 6)
    item = torch.zeros(1, 1, dtype=torch.long)
    line = fusion.reduce(Features((tokens,), torch.ones(shape, dtype=torch.bool), item))
    assert line.levels[0][0, 0, :, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    with pytest.raises(RecipeError, match="finer than the 1 x 3 grid of its encoder"):
        mask = torch.ones(1, 1, 3, dtype=torch.bool)
        fusion.reduce(Features((tokens[:, :, :3],), mask, item))


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 1.0},
        {"gamma": -0.1},
        {"scales": []},
        {"scales": [(0, 2)]},
        {"bottleneck": 0},
        {"query": "mlp_output", "result": "mlp_input"},
        {"query": "attention_input", "result": "mlp_output"},
        {"activation": "tanh"},
        {"hiden_size": 8},
    ],
)
def test_impossible_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AdemConfig(**options)


def test_departures() -> None:
    assert make().departures() == []
    video = EncoderInfo("video", 32, 4, num_items=8, num_prefix_tokens=1, grid=(4, 4))
    sentences = make(video, scales=[(4, 4), (2, 2)], alpha=1.0, bottleneck=None).departures()
    assert sentences == [
        "scales: [[4, 4], [2, 2]] instead of the published [[16, 16], [8, 8]].",
        "alpha: 1.0 instead of the published 0.1.",
        "bottleneck: null instead of the published 12.",
        "Encoder 'image' has 4 blocks of width 32 and a 4 x 4 grid; published is CLIP ViT-L/14: "
        "24 blocks, width 1024, a 16 x 16 grid.",
        "The 8 items of 'image' form one memory of 160 tokens, told apart by item tables; "
        "published is one image.",
    ]


def test_the_word_adem_finds_the_class() -> None:
    assert get_registry().get("fusion", "adem").load() is AdemFusion
