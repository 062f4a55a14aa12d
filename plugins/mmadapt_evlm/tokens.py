"""Learnable tokens that stand in the text where the media items are."""

from __future__ import annotations

from torch import Tensor

from mmadapt.types import TextInputs


def insertion_order(file: Tensor) -> Tensor:
    """(b, t) places of the items (b, t) in the order of their files, absent ones first."""
    return file.argsort(dim=1, stable=True)


def insert_tokens(inputs: TextInputs, name: str, file: Tensor, tokens: Tensor) -> TextInputs:
    """Inserts every item's tokens at the column of its file.

    Args:
        inputs: the text so far.
        name: of the fusion that owns the tokens.
        file: (b, t) file of each item, all encoders' items one after the other; -1 where absent.
        tokens: (t, k, d) embeddings of each item.
    """
    (batch, items), (_, count, width) = file.shape, tokens.shape
    order = insertion_order(file)
    ordered = file.gather(1, order)
    first = inputs.attention_mask.long().argmax(dim=1, keepdim=True)
    known = inputs.media_positions.shape[1]
    at = first.expand(-1, items)
    if known:  # a file without a column of its own joins the last
        at = inputs.media_positions.gather(1, ordered.clamp(0, known - 1)).maximum(at)
    return inputs.insert(
        name,
        at.repeat_interleave(count, dim=1),
        embeds=tokens[order].reshape(batch, items * count, width),
        present=(ordered >= 0).repeat_interleave(count, dim=1),
    )
