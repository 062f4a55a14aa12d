"""Reading and editing the (b, 1, q, k) attention masks that a transformers LM gives its layers.

Each layer's own mask is edited, never replaced, so padding, sliding windows, the cache's offset and
what other fusions have hidden all stay. True or 0 means visible, False or the lowest number hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmadapt.errors import AttachError
from mmadapt.types import State

EDITABLE = ("eager", "sdpa")
KEPT_EDITS = 2  # layers alternate between two masks: with and without a window


def check_attention(lm: nn.Module, fusion: str) -> None:
    """Refuses attention implementations whose masks cannot be edited.

    Raises:
        AttachError: the LM runs neither `eager` nor `sdpa`.
    """
    config: Any = lm.config
    kind = config.get_text_config()._attn_implementation
    if kind not in EDITABLE:
        raise AttachError(
            f"fusion '{fusion}' edits attention masks, which attn_implementation '{kind}' does not "
            "take; set lm.attn_implementation to 'sdpa' or 'eager'"
        )


def explicit(i: int, mask: Tensor | None, length: int, state: State) -> Tensor:
    """Layer `i`'s mask for `length` queries; where the LM passes none (sdpa), the one it means.

    Raises:
        AttachError: the mask is not a (b, 1, q, k) tensor.
    """
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.ndim != 4:
            raise AttachError(f"layer {i} was given an attention mask that is not (b, 1, q, k)")
        return mask
    query, key = _places(length, _num_keys(i, length, state), state)
    return (key[None, :] <= query[:, None])[None, None]


def edited_once(
    name: str,
    i: int,
    mask: Tensor | None,
    length: int,
    state: State,
    edit: Callable[[], Tensor],
) -> Tensor:
    """What `edit` makes of layer `i`'s mask, made once for all layers that are given the same.

    Args:
        name: of the edit, one for each kind that a fusion has.
        i: layer.
        mask: as the LM gives it, or None.
        length: queries.
        state: of the forward.
        edit: makes the edited mask (b, 1, q, k).
    """
    keys = _num_keys(i, length, state) if mask is None else mask.shape[-1]
    return made_once(state.masks, name, mask, edit, (state.past_len, length, keys))


def made_once(
    made: dict[str, list[Any]],
    name: str,
    given: Any,
    make: Callable[[], Any],
    at: tuple[int, ...] = (),
) -> Any:
    """What `make` gave for the same object under this name; the last few are kept.

    Args:
        made: where they are kept.
        name: of what is made.
        given: what it is made of; another object is another, whatever its values.
        make: makes it.
        at: what else it depends on.
    """
    kept = made.get(name, [])
    for one, place, result in kept:
        if one is given and place == at:
            return result
    result = make()
    made[name] = [*kept, (given, at, result)][-KEPT_EDITS:]
    return result


def hide_columns(i: int, mask: Tensor | None, columns: Tensor, length: int, state: State) -> Tensor:
    """Hides the text's marked columns (b, s) from every query but themselves."""
    mask = explicit(i, mask, length, state)
    query, key = _places(length, mask.shape[3], state)
    hidden = _at(columns, key)[:, None, None, :] & (query[:, None] != key[None, :])
    if mask.dtype == torch.bool:
        return mask & ~hidden
    return mask.masked_fill(hidden, torch.finfo(mask.dtype).min)


def open_rows(i: int, mask: Tensor | None, columns: Tensor, length: int, state: State) -> Tensor:
    """Lets the text's marked columns (b, s) see every key: later ones and padding too."""
    mask = explicit(i, mask, length, state)
    query, _ = _places(length, mask.shape[3], state)
    free = _at(columns, query)[:, None, :, None]
    return mask | free if mask.dtype == torch.bool else mask.masked_fill(free, 0.0)


def _num_keys(i: int, length: int, state: State) -> int:
    """The cache knows how many keys there will be: a static one has all of them from the start."""
    return length if state.cache is None else int(state.cache.get_mask_sizes(length, i)[0])


def _places(length: int, keys: int, state: State) -> tuple[Tensor, Tensor]:
    """Column numbers of the queries (q,) and keys (k,) of a layer."""
    total = state.past_len + length
    device = state.text.input_ids.device
    first = max(0, total - keys)  # a sliding cache has dropped the columns before
    return (
        torch.arange(state.past_len, total, device=device),
        torch.arange(first, first + keys, device=device),
    )


def _at(columns: Tensor, places: Tensor) -> Tensor:
    """(b, n): the marks (b, s) at column numbers (n,), False after the text's end."""
    last = columns.shape[1] - 1
    return columns[:, places.clamp_max(last)] & (places <= last)
