"""The CLS of every media item as a token of the text, behind a prefix such as "Image: "."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmadapt.types import TextInputs


def insert_cls(
    inputs: TextInputs,
    name: str,
    items: Mapping[str, Tensor],
    cls: Mapping[str, Tensor],
    media_ids: Mapping[str, Sequence[int]],
    no_media_ids: Sequence[int],
    bos_token_id: int | None,
) -> TextInputs:
    """Puts prefix and CLS tokens at each media file's position, and the other prefix where none is.

    Args:
        inputs: the text so far.
        name: of the fusion that owns the CLS tokens.
        items: by encoder, (b, t) the file that an item belongs to, -1 where there is none.
        cls: by encoder, (b, t, d) embeddings.
        media_ids: by encoder, ids of the text before a file's CLS tokens.
        no_media_ids: ids of the text that a sample without any of these media gets after BOS.
        bos_token_id: BOS stays in front where the text starts with it.
    """
    start = text_start(inputs, bos_token_id)
    absent = torch.ones_like(start, dtype=torch.bool)
    for item in items.values():
        absent &= (item < 0).all(dim=1)
    inputs = _place_files(inputs, items, start)
    if is_any(absent, unknown=not items):
        inputs = _insert_ids(inputs, name, start, no_media_ids, absent)
    for file in range(inputs.media_positions.shape[1]):
        started = torch.zeros_like(absent)
        for encoder, item in items.items():
            here = item == file
            first = here.any(dim=1) & ~started
            if is_any(first, unknown=encoder == next(iter(items))):
                inputs = _insert_ids(inputs, name, _column(inputs, file), media_ids[encoder], first)
            if is_any(here):
                inputs = _insert_embeds(inputs, name, _column(inputs, file), cls[encoder], here)
            started |= first
    return inputs


def text_start(inputs: TextInputs, bos_token_id: int | None) -> Tensor:
    """(b,) the first real column, or the one after it where BOS stands there."""
    first = inputs.attention_mask.long().argmax(dim=1)
    if bos_token_id is None:
        return first
    return first + (inputs.input_ids.gather(1, first[:, None])[:, 0] == bos_token_id)


def is_any(condition: Tensor, *, unknown: bool = True) -> bool:
    """Whether any holds; `unknown` on the meta device, where tensors have no values."""
    return unknown if condition.is_meta else bool(condition.any())


def _place_files(inputs: TextInputs, items: Mapping[str, Tensor], start: Tensor) -> TextInputs:
    """Gives every file a column, none before `start`; one without its own joins the last."""
    positions = inputs.media_positions
    known = positions.shape[1]
    count = max([known, *(int(item.max()) + 1 for item in items.values() if not item.is_meta)])
    if count > known:
        spare = positions[:, -1:] if known else start[:, None]
        positions = torch.cat([positions, spare.expand(-1, count - known)], dim=1)
    files = torch.arange(count, device=positions.device)
    has_file = torch.zeros_like(positions, dtype=torch.bool)
    for item in items.values():
        has_file |= (item[:, :, None] == files).any(dim=1)
    placed = positions.maximum(start[:, None])
    return replace(inputs, media_positions=torch.where(has_file, placed, positions))


def _column(inputs: TextInputs, file: int) -> Tensor:
    return inputs.media_positions[:, file].clamp_min(0)


def _insert_ids(
    inputs: TextInputs, name: str, at: Tensor, ids: Sequence[int], present: Tensor
) -> TextInputs:
    if not ids:
        return inputs
    shape = (at.shape[0], len(ids))
    present = present[:, None].expand(shape)
    return inputs.insert(
        name,
        _columns(inputs, at, present),
        ids=torch.tensor(ids, device=at.device).expand(shape),
        present=present,
    )


def _insert_embeds(
    inputs: TextInputs, name: str, at: Tensor, embeds: Tensor, present: Tensor
) -> TextInputs:
    """Inserts the present ones of `embeds` (b, t, d), in order, without gaps between them."""
    count = present.shape[1] if present.is_meta else int(present.sum(dim=1).max())
    order = (~present).long().argsort(dim=1, stable=True)[:, :count]
    present = present.gather(1, order)
    return inputs.insert(
        name,
        _columns(inputs, at, present),
        embeds=embeds.gather(1, order[..., None].expand(-1, -1, embeds.shape[2])),
        present=present,
    )


def _columns(inputs: TextInputs, at: Tensor, present: Tensor) -> Tensor:
    """`at` for the tokens that are there; the others pad the row's end, outside sliding windows."""
    return torch.where(present, at[:, None], inputs.input_ids.shape[1])
