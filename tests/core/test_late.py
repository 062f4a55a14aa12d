"""Tokens that enter late: which columns the layers below are given, and when they get all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from mmadapt.contracts import Fusion
from mmadapt.errors import AttachError
from mmadapt.late import TextAlone, late_fusion
from mmadapt.testing.tiny import context, tiny_lm
from mmadapt.types import State, TextInputs

LAYERS = 4


class Late(Fusion):
    def __init__(self, name: str = "late", enters_at: int = 2, layers: tuple[int, ...] = (0, 1, 2)):
        super().__init__(None, context(tiny_lm("llama"), {}, name))
        self._at, self._layers = enters_at, layers

    @property
    def enters_at(self) -> int:
        return self._at

    def layers(self, num_layers: int) -> tuple[int, ...]:
        return self._layers

    def layer_input(self, i: int, hidden_states: Tensor, mask: Any, state: State) -> Any:
        return hidden_states, mask


class LateToo(Late):
    def mlp_output(self, i: int, x: Tensor, y: Tensor, state: State) -> Tensor:
        return y


class Inserting(Fusion):
    """Puts tokens into the text and acts at no layer."""


def inserting() -> Fusion:
    return Inserting(None, context(tiny_lm("llama"), {}, "inserting"))


def test_one_fusion_that_nobody_disturbs_below_enters_late() -> None:
    late, above = Late(), Late("above", 0, (2, 3))
    assert late_fusion([above, late, inserting()], LAYERS) is late
    assert late_fusion([late, Late("below", 0, (1,))], LAYERS) is None
    assert late_fusion([late, Late("other")], LAYERS) is None  # each acts below the other
    assert late_fusion([LateToo()], LAYERS) is None  # its MLP hook would miss columns
    assert late_fusion([above], LAYERS) is None


def test_a_layer_that_the_lm_lacks_is_refused() -> None:
    with pytest.raises(AttachError, match="'late' enter at layer 4, but the LM has 4"):
        late_fusion([Late(enters_at=4)], LAYERS)


SPAN = torch.tensor([[0, 1, 0, 0, 2, 0], [0, 0, 0, 2, 0, 0]])


def state(real: Tensor | None = None) -> State:
    ids = torch.zeros_like(SPAN)
    real = torch.ones_like(SPAN).bool() if real is None else real
    return State(TextInputs(ids, real, None, ids[:, :1], spans={"f": SPAN}, counts={"f": 2}))


def arguments() -> dict[str, Any]:
    return {
        "hidden_states": torch.arange(12.0).view(2, 6, 1),
        "attention_mask": torch.rand(1, 1, 6, 6),
        "position_ids": torch.arange(6)[None],
        "position_embeddings": (torch.rand(1, 6, 4), torch.rand(1, 6, 4)),
    }


def test_columns_anywhere_are_taken_out_of_everything_a_layer_is_given() -> None:
    """Own tokens amid the text; a row that lacks one gives a padding column, wherever it is."""
    real = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]).bool()
    kept = [[0, 2, 3, 5], [0, 2, 4, 5]]
    hidden, mask, _, turns = (given := arguments()).values()
    alone = TextAlone.of("f", given, state(real))
    assert alone is not None
    changed = alone.without(given)
    alone.without({**given, "attention_mask": torch.rand(1, 1, 6, 6)})  # layers alternate
    assert alone.without(given)["attention_mask"] is changed["attention_mask"]
    assert changed["position_ids"].tolist() == kept
    for row, columns in enumerate(kept):
        assert changed["hidden_states"][row].tolist() == hidden[row, columns].tolist()
        assert torch.equal(changed["attention_mask"][row, 0], mask[0, 0][columns][:, columns])
        for mine, whole in zip(changed["position_embeddings"], turns, strict=True):
            assert torch.equal(mine[row], whole[0, columns])
    back = alone.within(changed["hidden_states"])
    assert torch.equal(back[0], hidden[0] * torch.tensor([1, 0, 1, 1, 0, 1])[:, None])


@pytest.mark.parametrize(
    "other",
    [
        {"biases": torch.rand(2, 6)},  # such as ALiBi's
        {"position_embeddings_global": (torch.rand(1, 6, 4),)},
        {"position_embeddings": torch.rand(6, 4)},
        {"position_embeddings": (torch.rand(3, 1, 6, 4),) * 2},
        {"attention_mask": torch.ones(2, 6)},
        {"attention_mask": torch.ones(2, 1, 1, 6)},
        {"past": DynamicCache()},
        {"hidden_states": torch.rand(2, 7, 1)},  # a token more than the text
    ],
)
def test_what_is_not_known_is_left_alone(other: dict[str, Any]) -> None:
    assert TextAlone.of("f", arguments(), state()) is not None
    assert TextAlone.of("f", {**arguments(), **other}, state()) is None


def test_columns_stay_where_keys_and_values_are_cached() -> None:
    cached = state()
    cached.cache = object()
    assert TextAlone.of("f", arguments(), cached) is None
