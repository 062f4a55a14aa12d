"""Tokens without a position, and padding, on LMs whose positions are a learned table."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import BaseModel
from torch import Tensor

from mmadapt.contracts import Fusion, Head
from mmadapt.model import MultimodalModel
from tests.tiny import context, tiny_lm

WEIGHTS = {"opt": "model.decoder.layers.0", "gpt2": "transformer.h.0"}


class Nothing(BaseModel):
    """No options."""


class Front(Fusion):
    """Two fixed embeddings before the text, without positions."""

    Config = Nothing

    def embeds(self, inputs: Any, features: Any) -> Any:
        rows = len(inputs.input_ids)
        embeds = torch.linspace(-1, 1, 64).view(1, 2, 32).expand(rows, -1, -1)
        at = torch.zeros(rows, 2, dtype=torch.long)
        return inputs.insert(self.name, at, embeds=embeds, positionless=True)

    def layers(self, num_layers: int) -> range:
        return range(0)


def joined_to(lm: Any) -> MultimodalModel:
    return MultimodalModel(lm, None, {}, [Front(Nothing(), context(lm, {}))], Head(None)).eval()


def first_layer(lm: Any, family: str, run: Any) -> Tensor:
    """The hidden states that enter layer 0."""
    seen: list[Tensor] = []
    layer = lm.get_submodule(WEIGHTS[family])
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    run()
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("family", WEIGHTS)
def test_inserted_tokens_get_no_row_of_the_table_and_the_text_keeps_its_own(family: str) -> None:
    lm = tiny_lm(family)
    ids = torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]])
    mask = (ids > 0).long()
    alone = first_layer(lm, family, lambda: lm(ids, attention_mask=mask))
    model = joined_to(lm)
    joined = first_layer(lm, family, lambda: model(ids, mask))
    assert torch.equal(joined[0, :2], torch.linspace(-1, 1, 64).view(2, 32))
    assert torch.equal(joined[:, 2:][mask.bool()], alone[mask.bool()])


def test_padding_of_opt_keeps_the_row_that_opt_gives_it() -> None:
    lm = tiny_lm("opt")
    ids = torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]])
    mask = (ids > 0).long()
    alone = first_layer(lm, "opt", lambda: lm(ids, attention_mask=mask))
    model = joined_to(lm)
    joined = first_layer(lm, "opt", lambda: model(ids, mask))
    assert torch.equal(joined[1, 4:], alone[1, 2:])
