"""What encoders of transformers models share: their weights, levels, rows of real items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from mmadapt.errors import ModelError
from mmadapt.types import LevelSpec
from mmadapt.weights import load_pretrained


def load_tower(cls: Any, options: Any, config: Any, **more: Any) -> PreTrainedModel:
    """Loads the weights of a tower out of any checkpoint that holds them.

    Args:
        cls: the class of transformers whose weights are wanted, or `AutoModel`.
        options: `model`, `revision`, `dtype` and `attn_implementation` of an encoder's recipe.
        config: of the tower.
        more: handed to `from_pretrained`.

    Raises:
        ModelError: the weights cannot be had, or are not those of such a tower.
    """
    with _silent_report():
        model, report = load_pretrained(
            cls.from_pretrained,
            options.model,
            revision=options.revision,
            config=config,
            dtype=getattr(torch, options.dtype),
            attn_implementation=options.attn_implementation,
            output_loading_info=True,
            **more,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"model {options.model} lacks {len(missing)} weights of type {config.model_type}, "
            f"among them {missing[0]}; is it a checkpoint of that architecture?"
        )
    return model.eval()


@contextmanager
def _silent_report() -> Iterator[None]:
    """Towers and heads that stay unread are meant to; what is missing is an error of ours."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def run_levels(
    forward: Callable[[], Any],
    blocks: Sequence[nn.Module],
    norm: nn.Module | None,
    levels: Sequence[LevelSpec],
) -> tuple[Tensor, ...]:
    """Runs a model once and returns the levels asked for, in that order.

    Args:
        forward: runs the model; what it returns is not used.
        blocks: its blocks.
        norm: its final norm; where it has none, a final-normed level is the raw one.
        levels: which blocks, raw or final-normed.

    Returns:
        Per level the tokens (rows, n, e).

    Raises:
        ModelError: a block that the model does not have, or that `keep_blocks` has dropped.
    """
    for level in levels:
        if not 0 <= level.block < len(blocks):
            raise ModelError(
                f"level {level.block} was asked of an encoder with blocks 0 to {len(blocks) - 1}"
            )
    with _captured(blocks, {level.block for level in levels}) as states:
        forward()
    return tuple(
        norm(states[level.block]) if level.normed and norm is not None else states[level.block]
        for level in levels
    )


def only_real(values: Tensor, item: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Flattens (b, t, …) to the rows of real items, with the way back.

    Args:
        values: (b, t, …).
        item: (b, t), -1 where a row is padding.

    Returns:
        (r, …), and a function from (r, …) to (b, t, …) with zeros at padding.
    """
    shape, rows = item.shape, values.flatten(0, 1)
    real = item.flatten() >= 0
    # Without any real item the padding runs: a sharded encoder is called on every rank alike.
    if not bool(real.any()) or bool(real.all()):
        return rows, lambda found: found.unflatten(0, shape)

    def spread(found: Tensor) -> Tensor:
        full = found.new_zeros(real.shape[0], *found.shape[1:])
        return full.index_put((real.nonzero().squeeze(1),), found).unflatten(0, shape)

    return rows[real], spread


def token_mask(item: Tensor, tokens: int) -> Tensor:
    """(b, t, n) bool: every token of a real item (b, t)."""
    return (item >= 0)[..., None].expand(-1, -1, tokens)


@contextmanager
def _captured(blocks: Sequence[nn.Module], wanted: set[int]) -> Iterator[dict[int, Tensor]]:
    """Fills a dictionary with the outputs of the wanted blocks while the model runs."""
    states: dict[int, Tensor] = {}

    def keep(index: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            states[index] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [blocks[index].register_forward_hook(keep(index)) for index in wanted]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()
