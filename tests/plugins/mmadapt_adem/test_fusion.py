"""The fusion in a tiny LM: samples do not disturb one another, every option acts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mmadapt.contracts import Encoder, Head
from mmadapt.errors import RecipeError
from mmadapt.model import MultimodalModel
from mmadapt_adem.activations import ACTIVATIONS
from mmadapt_adem.config import AdemConfig
from mmadapt_adem.fusion import AdemFusion
from tests.tiny import TinyEncoder, context, tiny_lm

BASE: dict[str, Any] = {"scales": [(4, 4), (2, 2)], "beta": 1.0, "alpha": 0.5, "gamma": 0.3}
TABLE_VII = [
    ("attention_input", "attention_input"),
    ("attention_input", "attention_output"),
    ("attention_output", "attention_output"),
    ("mlp_input", "mlp_input"),
    ("mlp_input", "mlp_output"),
    ("mlp_output", "mlp_output"),
]


def join(
    *, family: str = "llama", encoders: dict[str, Encoder] | None = None, **options: Any
) -> MultimodalModel:
    torch.manual_seed(0)
    encoders = encoders or {"image": TinyEncoder()}
    lm = tiny_lm(family)
    fusion = AdemFusion(AdemConfig(**{**BASE, **options}), context(lm, encoders, "adem"))
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return MultimodalModel(lm, None, encoders, [fusion], Head(None)).eval()


def batch(model: MultimodalModel, rows: int = 2) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(4, 90, (rows, 7), generator=generator)
    ids[:, 0] = 1
    encoders: Any = model.encoders
    media = {name: encoder.inputs(rows) for name, encoder in encoders.items()}
    return {"input_ids": ids, "media": media, "media_positions": torch.ones(rows, 1).long()}


def last(model: MultimodalModel, given: dict[str, Any]) -> Tensor:
    """Logits (b, v) at each row's last real token."""
    with torch.no_grad():
        output = model(**given)
    columns = torch.arange(output.logits.shape[1]) * output.text.attention_mask
    return output.logits[torch.arange(len(columns)), columns.argmax(dim=1)]


def rows_of(given: dict[str, Any], rows: slice) -> dict[str, Any]:
    media = {
        name: {key: value[rows] for key, value in inputs.items()}
        for name, inputs in given["media"].items()
    }
    return {key: media if key == "media" else value[rows] for key, value in given.items()}


def test_every_row_of_table_vii_differs() -> None:
    results = []
    for query, result in TABLE_VII:
        model = join(query=query, result=result)
        assert model.fusions["adem"].sites() == {result}
        results.append(last(model, batch(model)))
    for i, one in enumerate(results):
        assert one.isfinite().all()
        assert all((one - other).abs().max() > 1e-3 for other in results[:i])


def test_table_vii_asks_and_adds_where_it_says() -> None:
    x, y, state = torch.randn(1, 3, 32), torch.randn(1, 3, 32), None
    for query, result in TABLE_VII:
        fusion: Any = join(query=query, result=result).fusions["adem"]
        fusion.fuse = lambda query, memory: query * 10
        state = type("State", (), {"memories": {"adem": None}})()
        site = getattr(fusion, result)
        asked = x if query.endswith("input") else y
        if result.endswith("input"):
            torch.testing.assert_close(site(0, x, state), x + 5 * x)
        else:
            torch.testing.assert_close(site(0, x, y, state), y + 5 * asked)


def test_every_activation_differs() -> None:
    x = torch.linspace(-3, 3, 7)
    results = [last(model, batch(model)) for model in map(_with_activation, ACTIVATIONS)]
    for i, one in enumerate(results):
        assert one.isfinite().all()
        assert all((one - other).abs().max() > 1e-3 for other in results[:i])
    assert ACTIVATIONS["silu_min"](torch.tensor(-1.27846454)).abs() < 1e-6
    assert torch.equal(ACTIVATIONS["none"](x), x)
    torch.testing.assert_close(ACTIVATIONS["silu"](x), x * x.sigmoid())
    torch.testing.assert_close(ACTIVATIONS["elu"](x), torch.where(x > 0, x, x.exp() - 1))
    torch.testing.assert_close(ACTIVATIONS["softmax"](x), x.exp() / x.exp().sum())


def _with_activation(name: str) -> MultimodalModel:
    return join(activation=name)


@pytest.mark.parametrize(
    "change",
    [
        {"pool": "max"},
        {"alpha": 0.1},
        {"beta": 0.1},
        {"gamma": 0.0},
        {"cls": False},
        {"tables": False},
        {"bottleneck": None},
        {"media_norm": "layernorm"},
        {"level": 0},
        {"layers": [1]},
        {"media_prefix": "Look at "},
    ],
)
def test_every_option_acts(change: dict[str, Any]) -> None:
    base, changed = join(), join(**change)
    given = batch(base)
    with torch.no_grad():
        for name, parameter in changed.fusions.named_parameters():
            parameter.copy_(dict(base.fusions.named_parameters())[name])
    assert (last(base, given) - last(changed, given)).abs().max() > 1e-4


@pytest.mark.parametrize("num_items", [1, 3])
@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_a_sample_is_the_same_in_any_batch(family: str, num_items: int) -> None:
    """With media, without, beside longer ones, and where no sample of the batch has media."""
    model = join(family=family, encoders={"image": TinyEncoder(items=num_items)})
    given = batch(model, rows=3)
    item = given["media"]["image"]["item"]
    item[1], item[2, 1:] = -1, -1
    given["media_positions"][1] = -1
    together = last(model, given)
    for row in range(3):
        alone = rows_of(given, slice(row, row + 1))
        torch.testing.assert_close(last(model, alone)[0], together[row], rtol=0, atol=1e-5)
    text_only = rows_of(given, slice(1, 2))
    del text_only["media"]
    torch.testing.assert_close(last(model, text_only)[0], together[1], rtol=0, atol=1e-5)


def test_padding_of_media_has_no_effect() -> None:
    model = join(encoders={"image": TinyEncoder(items=2)})
    given = batch(model)
    inputs = given["media"]["image"]
    before = last(model, given)
    padding = torch.full_like(inputs["values"][:, :1], 1e3)
    inputs["values"] = torch.cat([inputs["values"], padding], dim=1)
    inputs["item"] = torch.nn.functional.pad(inputs["item"], (0, 1), value=-1)
    torch.testing.assert_close(last(model, given), before, rtol=0, atol=1e-5)


def test_the_order_of_the_frames_matters() -> None:
    model = join(cls=False, encoders={"image": TinyEncoder(items=3)})
    given = batch(model)
    before = last(model, given)
    given["media"]["image"]["values"] = given["media"]["image"]["values"].flip(1)
    assert (last(model, given) - before).abs().max() > 1e-4


def test_several_encoders_make_one_memory() -> None:
    encoders = {"image": TinyEncoder(), "other": TinyEncoder(width=16)}
    model = join(encoders=encoders)
    given = batch(model)
    fusion: Any = model.fusions["adem"]
    features = model.encode(given["media"])["adem"]
    assert fusion.prepare(features, None)["keys"].shape == (2, 40, 32)
    both = last(model, given)
    one = {**given, "media": {"image": given["media"]["image"]}}
    assert (last(model, one) - both).abs().max() > 1e-4
    given["media"]["other"]["item"][:] = -1
    torch.testing.assert_close(last(model, given), last(model, one), rtol=0, atol=1e-5)


def test_the_memory_is_in_the_precision_of_the_lm() -> None:
    model = join()
    model.lm.to(torch.bfloat16)
    fusion: Any = model.fusions["adem"]
    fusion.rewrite({}, model.lm)
    features = model.encode(batch(model)["media"])["adem"]
    assert fusion.prepare(features, None)["keys"].dtype == torch.bfloat16
    assert next(fusion.parameters()).dtype == torch.float32
    exact = join()
    rough, fine = last(model, batch(model)).float(), last(exact, batch(exact))
    assert (rough - fine).abs().max() < 0.05 * fine.abs().max()
    with torch.autocast("cpu", torch.float16):
        assert fusion.prepare(features, None)["keys"].dtype == torch.float16


def test_prefix_texts_need_a_tokenizer() -> None:
    encoder, lm = TinyEncoder(), tiny_lm("llama")
    without = context(lm, {"image": encoder}).__dict__ | {"tokenize": None}
    make = type(context(lm, {"image": encoder}))
    fusion = AdemFusion(AdemConfig(**BASE), make(**without))
    model = MultimodalModel(lm, None, {"image": encoder}, [fusion], Head(None))
    with pytest.raises(RecipeError, match="'Image: ' needs a tokenizer"):
        model(**batch(model))
    silent = {**BASE, "media_prefix": "", "no_media_prefix": ""}
    fusion = AdemFusion(AdemConfig(**silent), make(**without))
    model.attachment.detach()
    model = MultimodalModel(lm, None, {"image": encoder}, [fusion], Head(None))
    assert model(**batch(model)).logits.shape[1] == 8
