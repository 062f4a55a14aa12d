"""Below the layer where slots and soft prompt enter, a forward without a cache runs on the text.

Its logits are compared with those of the same forward that hides them there instead, which is what
generation does. Float32, tolerance 2e-5 for logits of the order of 1.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from mmadapt.anatomy import FAMILIES, find_anatomy, find_layers
from mmadapt.contracts import Fusion, Head
from mmadapt.late import TextAlone
from mmadapt.model import MultimodalModel
from mmadapt.testing.tiny import TinyEncoder, context, tiny_lm
from mmadapt.types import State, TextInputs
from mmadapt_epalm.config import EpalmConfig
from mmadapt_epalm.fusion import EpalmFusion
from tests.plugins.mmadapt_epalm.test_contract import TestLatePrompt as Case

START, OWN = 2, 3  # layers 0 and 1 are below; a slot and a prompt of 2


class Bystander(Fusion):
    """Acts at one layer and changes nothing."""

    def __init__(self, config: Any, made: Any, layer: int) -> None:
        super().__init__(config, made)
        self.layer = layer

    def layers(self, num_layers: int) -> list[int]:
        return [self.layer]

    def mlp_output(self, i: int, x: Tensor, y: Tensor, state: Any) -> Tensor:
        state.columns(state.text.input_ids, x.shape[1])  # columns are those of the text
        return y


def joined(lm: Any, *others: int) -> MultimodalModel:
    encoders = {"image": TinyEncoder()}
    torch.manual_seed(1)
    config = EpalmConfig(prompt_length=2, prompt_at="start", start=START)
    fusions: list[Fusion] = [EpalmFusion(config, context(lm, encoders, "epalm"))]
    fusions += [Bystander(None, context(lm, encoders, f"f{layer}"), layer) for layer in others]
    return MultimodalModel(lm, None, encoders, fusions, Head(None)).eval()


def unequal(model: MultimodalModel, side: str) -> dict[str, Any]:
    """Padded rows, the last of which has no media."""
    batch = Case().batch(model, side=side)
    batch["media"]["image"]["item"][-1] = -1
    return batch


def lengths(model: MultimodalModel, batch: dict[str, Any]) -> tuple[list[int], Tensor]:
    """Columns that each layer ran on, and the logits of the real ones."""
    seen: list[int] = []
    lm: Any = model.lm
    layers = find_layers(lm, find_anatomy(lm.config.model_type))
    handles = [
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(
                (args[0] if args else kwargs["hidden_states"]).shape[1]
            ),
            with_kwargs=True,
        )
        for layer in layers
    ]
    with torch.no_grad():
        output = model(**batch)
    for handle in handles:
        handle.remove()
    return seen, output.logits[output.text.attention_mask]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", [*FAMILIES, "opt-eager", "falcon-alibi"])
def test_the_same_as_hidden(family: str, side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, _, variant = family.partition("-")
    options: dict[str, Any] = {"alibi": True} if variant == "alibi" else {}
    model = joined(tiny_lm(kind, **options))
    if variant == "eager":
        model.lm.set_attn_implementation("eager")
    batch = unequal(model, side)
    text = batch["input_ids"].shape[1]
    there, mine = lengths(model, batch)
    below = text + OWN if variant == "alibi" else text  # ALiBi's biases are not taken apart
    assert there == [below] * START + [text + OWN] * (len(there) - START)
    monkeypatch.setattr(TextAlone, "of", lambda *_: None)
    everywhere, expected = lengths(model, batch)
    assert set(everywhere) == {text + OWN}
    torch.testing.assert_close(mine, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("layer", "is_alone"), [(START - 1, False), (START, True)])
def test_tokens_stay_where_another_fusion_acts_below(layer: int, is_alone: bool) -> None:
    model = joined(tiny_lm("llama"), layer)
    batch = unequal(model, "right")
    text = batch["input_ids"].shape[1]
    assert lengths(model, batch)[0][0] == (text if is_alone else text + OWN)


def test_gradients_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = joined(tiny_lm("mistral")).train()
    batch = unequal(model, "right")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(**batch, labels=labels).loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    mine = gradients()
    monkeypatch.setattr(TextAlone, "of", lambda *_: None)
    for one, other in zip(mine, gradients(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
    assert len(mine) > 3 and all(gradient.any() for gradient in mine)


def test_columns_anywhere_are_taken_out_of_everything_a_layer_is_given() -> None:
    """Own tokens amid the text; a row that lacks one gives a padding column, wherever it is."""
    span = torch.tensor([[0, 1, 0, 0, 2, 0], [0, 0, 0, 2, 0, 0]])
    real = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]).bool()
    ids = torch.zeros_like(span)
    text = TextInputs(ids, real, None, ids[:, :1], spans={"f": span}, counts={"f": 2})
    kept = [[0, 2, 3, 5], [0, 2, 4, 5]]
    hidden = torch.arange(12.0).view(2, 6, 1)
    mask = torch.rand(1, 1, 6, 6)
    turns = torch.rand(1, 6, 4), torch.rand(1, 6, 4)
    numbers = torch.arange(6)[None]
    given = {"hidden_states": hidden, "attention_mask": mask, "position_ids": numbers}
    alone = TextAlone.of("f", {**given, "position_embeddings": turns}, State(text))
    assert alone is not None
    changed = alone.without({**given, "position_embeddings": turns})
    assert changed["position_ids"].tolist() == kept
    for row, columns in enumerate(kept):
        assert changed["hidden_states"][row].tolist() == hidden[row, columns].tolist()
        assert torch.equal(changed["attention_mask"][row, 0], mask[0, 0][columns][:, columns])
        for mine, whole in zip(changed["position_embeddings"], turns, strict=True):
            assert torch.equal(mine[row], whole[0, columns])
    back = alone.within(changed["hidden_states"])
    assert torch.equal(back[0], hidden[0] * torch.tensor([1, 0, 1, 1, 0, 1])[:, None])
    assert TextAlone.of("f", {**given, "biases": torch.rand(2, 6)}, State(text)) is None
    assert TextAlone.of("f", {**given, "past": DynamicCache()}, State(text)) is None
