"""Below the layer where slots and soft prompt enter, a forward without a cache runs on the text.

Its logits are compared with those of the same forward that hides them there instead, which is what
generation does. Float32, tolerance 2e-5 for logits of the order of 1.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mmadapt.anatomy import FAMILIES, find_anatomy, find_layers
from mmadapt.contracts import Fusion, Head
from mmadapt.late import TextAlone
from mmadapt.model import MultimodalModel
from mmadapt.testing.tiny import TinyEncoder, context, tiny_lm
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
        assert x.shape[:2] == state.text.input_ids.shape  # all columns are there
        return y


def joined(lm: Any, *others: int) -> MultimodalModel:
    encoders = {"image": TinyEncoder()}
    torch.manual_seed(1)
    config = EpalmConfig(prompt_length=2, prompt_at="start", start=START)
    fusions: list[Fusion] = [EpalmFusion(config, context(lm, encoders, "epalm"))]
    fusions += [Bystander(None, context(lm, encoders, f"f{layer}"), layer) for layer in others]
    return MultimodalModel(lm, None, encoders, fusions, Head(None)).eval()


def unequal(model: MultimodalModel) -> dict[str, Any]:
    """Padded rows, the last of which has no media."""
    batch = Case().batch(model)
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


@pytest.mark.parametrize("family", [*FAMILIES, "opt-eager", "falcon-alibi"])
def test_the_same_as_hidden(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, _, variant = family.partition("-")
    options: dict[str, Any] = {"alibi": True} if variant == "alibi" else {}
    model = joined(tiny_lm(kind, **options))
    if variant == "eager":
        model.lm.set_attn_implementation("eager")
    batch = unequal(model)
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
    batch = unequal(model)
    text = batch["input_ids"].shape[1]
    assert lengths(model, batch)[0][0] == (text if is_alone else text + OWN)


def test_gradients_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = joined(tiny_lm("mistral")).train()
    batch = unequal(model)
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


def test_published_slots_see_padding_so_they_stay() -> None:
    lm = tiny_lm("opt")
    config = EpalmConfig(mode="published", prompt_length=0, start=START, end=3)
    fusion = EpalmFusion(config, context(lm, {"image": TinyEncoder()}, "epalm"))
    assert fusion.enters_at == 0


def test_an_empty_text_has_its_slots_and_prompt() -> None:
    model = joined(tiny_lm("llama"))
    batch = unequal(model)
    ids = batch["input_ids"][:, :0]
    seen, _ = lengths(model, {"input_ids": ids, "media": batch["media"]})
    assert set(seen) == {OWN}
