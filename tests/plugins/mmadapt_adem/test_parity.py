"""The published ADEM-VL to the number: losses, gradients and greedy tokens of its own code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mmadapt.contracts import EncoderInfo, FusionContext
from mmadapt.model import MultimodalModel
from mmadapt.types import Features
from mmadapt_adem.config import AdemConfig
from mmadapt_adem.fusion import AdemFusion
from tests.plugins.mmadapt_adem.published import batch, build_model, media, parameter_names


@pytest.fixture(scope="module")
def model() -> MultimodalModel:
    return build_model()


def test_the_names_that_number_the_fills() -> None:
    names = parameter_names(cls=True)
    assert len(names) == 96
    anchors = {"adapter_emb1": 0, "backbone.visual.conv1.weight": 17, "norm.weight": 93}
    anchors |= {"layers.0.attention.wq.weight": 68, "output.weight": 94}
    assert {name: names.index(name) for name in anchors} == anchors


def test_default_loss(model: MultimodalModel) -> None:
    assert model(**batch()).loss.item() == pytest.approx(8.197453, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"gamma": 0.0}, 7.938223),
        ({"cls": False}, 8.217607),
        ({"alpha": 0.0}, 6.670033),
        ({"beta": 1.0}, 8.539631),
    ],
)
def test_loss_of_each_variant(options: dict[str, Any], expected: float) -> None:
    with torch.no_grad():
        loss = build_model(**options)(**batch()).loss
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_gradient_norms() -> None:
    """Encoder and fusion in float64: these weights cancel in the CLS projector.

    In float32 the order of its sums alone moves the CLS gradients by 1e-4 to 1e-3.
    """
    model, given = build_model(), batch()
    model.encoders.double()
    model.fusions.double()
    given["media"]["image"]["values"] = given["media"]["image"]["values"].double()
    model(**given).loss.backward()
    fusion: Any = model.fusions["adem"]
    memory, bottlenecks = fusion.memories["image"], fusion.bottlenecks["image"]
    expected = [
        (memory.key_table, 0.735117),
        (memory.value_table, 0.529144),
        (memory.projector.fc1.weight, 0.0932093),
        (memory.projector.fc2.weight, 0.0255519),
        (memory.cls_projector.fc1.weight, 4.51496),
        (memory.cls_projector.fc2.weight, 3.31345),
        (bottlenecks[0].fc2.weight, 3.22515e-3),
        (bottlenecks[1].fc2.weight, 2.25227e-3),
    ]
    for parameter, norm in expected:
        assert parameter.grad.norm().item() == pytest.approx(norm, rel=1e-4)
    assert bottlenecks[2].fc2.weight.grad is None  # the last block is not read
    trainable = model.trainable_parameters()
    assert sum(p.numel() for p in trainable.values()) == 62_112
    assert all(name.startswith("fusions.adem.") for name in trainable)


def test_features_and_projection(model: MultimodalModel) -> None:
    fusion: Any = model.fusions["adem"]
    pictures = media()
    pictures["image"]["item"] = torch.zeros(2, 1, dtype=torch.long)  # norms are over both
    encoder: Any = model.encoders["image"]
    with torch.no_grad():
        raw = encoder(pictures["image"], fusion.levels(fusion.context.encoders["image"]))
        reduced = fusion.reduce(raw)
        projected = fusion.memories["image"].projector(reduced.levels[0][:, :, 1:])
    assert raw.levels[0].norm().item() == pytest.approx(186.6263, rel=1e-5)
    assert projected.norm().item() == pytest.approx(11.97697, rel=1e-5)


def _prompts(texts: list[str], positions: list[int]) -> dict[str, Tensor]:
    rows = [[1] + [3 + ord(letter) % 90 for letter in text] for text in texts]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for row, text in zip(ids, rows, strict=True):
        row[: len(text)] = torch.tensor(text)
    return {
        "input_ids": ids,
        "attention_mask": (ids > 0).long(),
        "media_positions": torch.tensor(positions)[:, None],
    }


def test_greedy_tokens_together_and_alone(model: MultimodalModel) -> None:
    pictures = media()
    options = {"max_new_tokens": 5, "eos_token_id": 2}
    together = model.generate_batch(
        **_prompts(["hello wor", "abc"], [1, -1]), media=pictures, **options
    )
    assert together.tolist() == [[94, 40, 12, 92, 25], [92, 25, 92, 12, 92]]
    first = {"values": pictures["image"]["values"][:1], "item": torch.tensor([[0]])}
    alone = model.generate_batch(**_prompts(["hello wor"], [1]), media={"image": first}, **options)
    assert alone.tolist() == [[94, 40, 12, 92, 25]]
    text_only = model.generate_batch(**_prompts(["abc"], [-1]), **options)
    assert text_only.tolist() == [[92, 25, 92, 12, 92]]


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (0.0, [[-0.591692, 0.165284, 1.939574, 2.958074], [0.54676, 0.047755, -0.709967, -0.9691]]),
        (
            0.4,
            [
                [-0.12444, -0.47807, 1.260675, 2.828293],
                [0.371669, -0.156559, -0.339583, -0.121581],
            ],
        ),
    ],
)
def test_the_unit_of_the_fusion(gamma: float, expected: list[list[float]]) -> None:
    """One text of two tokens and five memory tokens of width four, V as it is."""

    def wave(rows: int, step: float, function: Any, scale: float) -> Tensor:
        k = torch.arange(rows * 4, dtype=torch.float64)
        return (scale * function(step * k)).view(1, rows, 4).float()

    info = EncoderInfo("image", 4, 2, grid=(1, 5))
    config = AdemConfig(scales=[(1, 5)], gamma=gamma, cls=False, bottleneck=None, beta=1.0)
    fusion = AdemFusion(config, FusionContext("adem", 4, 4, 1, 1, {"image": info}))
    memory: Any = fusion.memories["image"]
    memory.projector.forward = lambda tokens: tokens
    with torch.no_grad():
        memory.key_table.copy_(wave(5, 1.1, torch.sin, 0.5))
        memory.value_table.copy_(wave(5, 1.7, torch.cos, 0.5))
    media, item = wave(5, 0.9, torch.cos, 0.8)[:, None], torch.zeros(1, 1, dtype=torch.long)
    features = Features((media,), torch.ones(1, 1, 5, dtype=torch.bool), item, grid=(1, 5))
    prepared = fusion.prepare({"image": fusion.reduce(features)}, None)  # type: ignore[arg-type]
    query = wave(2, 0.7, torch.sin, 1.5)
    scores = [
        [0.371357, 1.423363, -0.720185, 1.409659, -0.151362],
        [0.074001, -0.449816, 0.349833, -0.329861, -0.035213],
    ]
    close = {"atol": 1e-5, "rtol": 0.0}
    found = torch.nn.functional.silu(query) @ prepared["keys"].transpose(1, 2)
    torch.testing.assert_close(found[0], torch.tensor(scores), **close)
    torch.testing.assert_close(fusion.fuse(query, prepared)[0], torch.tensor(expected), **close)
