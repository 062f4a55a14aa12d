"""Editing the masks that an LM gives its layers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmadapt.errors import AttachError
from mmadapt.masks import edited_once, explicit, hide_columns, open_rows
from mmadapt.types import State, TextInputs

SLOT = torch.tensor([[False, True, False, False]])  # column 1 of a text of 4
LOWEST = torch.finfo(torch.float32).min


def state(past: int = 0, keys: int | None = None) -> State:
    ids = torch.zeros(1, 4, dtype=torch.long)
    cache: Any = None
    if keys is not None:
        cache = SimpleNamespace(get_mask_sizes=lambda length, layer: (keys, 0))
    return State(TextInputs(ids, ids.bool(), None, ids[:, :1]), past_len=past, cache=cache)


def rows(mask: Tensor) -> list[str]:
    """One text for each query: x where it sees."""
    visible = mask if mask.dtype == torch.bool else mask == 0
    return ["".join(".x"[int(v)] for v in row) for row in visible[0, 0]]


def test_no_mask_means_causal() -> None:
    assert rows(explicit(0, None, 3, state())) == ["x..", "xx.", "xxx"]
    assert rows(explicit(0, None, 1, state(past=4, keys=5))) == ["xxxxx"]


def test_a_static_cache_has_keys_for_later_tokens() -> None:
    assert rows(explicit(0, None, 4, state(keys=6))) == ["x.....", "xx....", "xxx...", "xxxx.."]


def test_hidden_from_all_but_itself() -> None:
    want = ["x...", "xx..", "x.x.", "x.xx"]
    assert rows(hide_columns(0, None, SLOT, 4, state())) == want
    boolean = torch.ones(4, 4, dtype=torch.bool).tril()[None, None]
    assert rows(hide_columns(0, boolean, SLOT, 4, state())) == want
    additive = torch.zeros(1, 1, 4, 4).masked_fill(~boolean, LOWEST)
    hidden = hide_columns(0, additive, SLOT, 4, state())
    assert rows(hidden) == want
    assert hidden.unique().tolist() == [LOWEST, 0.0]


def test_nothing_else_becomes_visible_or_hidden() -> None:
    window = torch.ones(4, 4, dtype=torch.bool).tril().triu(-1)[None, None]
    assert rows(hide_columns(0, window, SLOT, 4, state())) == ["x...", "xx..", "..x.", "..xx"]


def test_after_the_text_the_column_is_still_known() -> None:
    assert rows(hide_columns(0, None, SLOT, 1, state(past=5, keys=6))) == ["x.xxxx"]


def test_columns_after_the_text_are_not_its_last_one() -> None:
    assert rows(hide_columns(0, None, SLOT.flip(1)[:, :3], 1, state(past=4, keys=5))) == ["xx.xx"]


def test_a_sliding_cache_has_dropped_the_first_columns() -> None:
    for past, want in ((4, "x.xxx"), (5, ".xxxx"), (6, "xxxxx")):
        mask = torch.ones(1, 1, 1, 5, dtype=torch.bool)
        assert rows(hide_columns(0, mask, SLOT, 1, state(past=past))) == [want]


def test_an_open_row_sees_everything() -> None:
    want = ["x...", "xxxx", "xxx.", "xxxx"]
    assert rows(open_rows(0, None, SLOT, 4, state())) == want
    boolean = torch.ones(4, 4, dtype=torch.bool).tril()[None, None]
    additive = torch.zeros(1, 1, 4, 4).masked_fill(~boolean, LOWEST)
    assert rows(open_rows(0, additive, SLOT, 4, state())) == want


def test_masks_of_another_form_are_refused() -> None:
    with pytest.raises(AttachError, match="layer 3"):
        explicit(3, torch.ones(1, 4), 4, state())


def test_layers_that_are_given_the_same_mask_share_an_edit() -> None:
    made: list[Tensor] = []
    forward = state(past=4, keys=5)

    def edited(i: int, mask: Tensor | None, now: State = forward, name: str = "hides") -> Tensor:
        def edit() -> Tensor:
            made.append(hide_columns(i, mask, SLOT, 1, now))
            return made[-1]

        return edited_once(name, i, mask, 1, now, edit)

    assert edited(0, None) is edited(1, None)
    window = torch.ones(1, 1, 1, 5, dtype=torch.bool)
    assert edited(2, window) is edited(3, window) and len(made) == 2
    assert edited(4, None) is made[0] and edited(5, window) is made[1]  # layers alternate
    edited(4, window.clone())  # another mask of the same values
    edited(4, window, name="opens")
    assert len(made) == 4
    forward.past_len = 5  # the next token
    assert rows(edited(0, window)) == [".xxxx"] and len(made) == 5
    assert edited(0, window, forward.expand(2)) is not made[-2]  # other rows
    assert len(made) == 6


def test_a_layer_with_fewer_keys_is_edited_for_itself() -> None:
    forward = state(past=4)
    forward.cache = SimpleNamespace(get_mask_sizes=lambda length, layer: (5 - layer, 0))

    def keys(i: int) -> int:
        return edited_once("", i, None, 1, forward, lambda: explicit(i, None, 1, forward)).shape[3]

    assert [keys(0), keys(1)] == [5, 4]
