"""The loss of a batch: the LM's own at labelled positions, and what the fusions add."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mmadapt.contracts import Fusion, Head
from mmadapt.types import IGNORE_INDEX, State, TextInputs


def labelled(text: TextInputs) -> tuple[Tensor, Tensor]:
    """Flat indices (k,) of the positions that predict a label, and those labels (k,)."""
    if text.labels is None:
        empty = text.input_ids.new_empty(0)
        return empty, empty
    shifted = nn.functional.pad(text.labels[:, 1:], (0, 1), value=IGNORE_INDEX).flatten()
    rows = (shifted != IGNORE_INDEX).nonzero().squeeze(1)
    return rows, shifted[rows]


def labelled_samples(labels: Tensor | None) -> int:
    """How many rows of labels (b, s) have any to predict."""
    return 0 if labels is None else int((labels[:, 1:] != IGNORE_INDEX).any(dim=1).sum())


def batch_loss(
    logits: Tensor,
    targets: Tensor,
    num_items: Tensor | int | None,
    state: State,
    head: Head,
    fusions: Iterable[Any],
) -> Tensor:
    """Cross-entropy as the head counts it, and the fusions' own losses.

    Both are weighted by this batch's share of the items, so that the losses of the batches that
    one optimiser step accumulates sum to the loss of one large batch.

    Args:
        logits: (…, k, v) at labelled positions.
        targets: (k,) what they predict.
        num_items: what the summed loss is divided by; default: the items of this batch.
        state: of the forward, which fusions read.
        head: says whether an item is a token or a sample.
        fusions: may add a loss each.
    """
    targets = targets.to(logits.device)
    total = nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), targets, reduction="sum"
    )
    by_sample = head.loss == "sum_per_sample"
    own = labelled_samples(state.text.labels) if by_sample else targets.numel()
    if num_items is None:
        num_items = own
    elif isinstance(num_items, Tensor):
        num_items = num_items.to(total.device)
    loss = head.loss_scale * total / num_items
    extra = [found for fusion in fusions if (found := _extra(fusion, state)) is not None]
    if extra:
        loss = loss + torch.stack([x.to(loss) for x in extra]).sum() * (own / num_items)
    return loss


def _extra(fusion: Fusion, state: State) -> Tensor | None:
    return fusion.aux_loss(state)


def untouched(parameters: Iterable[Tensor]) -> Tensor:
    """Zero, with gradients of zero: a batch of text alone may not touch the adapter."""
    zeros = [parameter.flatten()[:1].sum() * 0 for parameter in parameters]
    return torch.stack([zero.to(zeros[0]) for zero in zeros]).sum() if zeros else torch.zeros(())
