"""Encoder blocks that train along with the fusions: `train.unfreeze`, the stages of EVLM.

From the first such block on, an encoder's forward carries gradients; what lies below stays out of
the graph, since nothing there needs any. Embeddings and the final norm stay frozen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from mmadapt.errors import RecipeError

if TYPE_CHECKING:
    from mmadapt.contracts import Encoder
    from mmadapt.model import MultimodalModel
    from mmadapt.recipe import Recipe


@dataclass(frozen=True)
class Unfrozen:
    """Blocks of one encoder that train.

    Args:
        encoder: its name.
        blocks: from 0.
        parameters: their names in the model.
        from_step: optimiser steps that are done before they train.
        learning_rate: their own, or None for the common one.
    """

    encoder: str
    blocks: tuple[int, ...]
    parameters: tuple[str, ...]
    from_step: int = 0
    learning_rate: float | None = None


def chosen_blocks(text: str, num_blocks: int) -> list[int]:
    """The blocks that a slice such as `"32:"` names.

    Example:
        >>> chosen_blocks("-2:", 12)
        [10, 11]
    """
    start, _, stop = text.partition(":")
    part = slice(int(start) if start else None, int(stop) if stop else None)
    return list(range(num_blocks))[part]


def read_blocks(
    recipe: Recipe, num_blocks: Mapping[str, int], read: Mapping[str, int]
) -> list[list[int]]:
    """The blocks of each entry of `train.unfreeze`.

    Args:
        recipe: whose `train.unfreeze` is meant.
        num_blocks: of each encoder.
        read: of each encoder, how many of its first blocks some fusion reads.

    Raises:
        RecipeError: an entry names no block, none that is read, or one that another entry names.
    """
    problems, found = [], []
    told: set[tuple[str, int]] = set()
    for number, entry in enumerate(recipe.train.unfreeze or ()):
        path = ("train", "unfreeze", number, "blocks")
        named = chosen_blocks(entry.blocks, num_blocks[entry.encoder])
        blocks = [block for block in named if block < read[entry.encoder]]
        found.append(blocks)
        twice = [block for block in blocks if (entry.encoder, block) in told]
        told |= {(entry.encoder, block) for block in blocks}
        last = num_blocks[entry.encoder] - 1
        if not named:
            message = f"'{entry.blocks}' names no block of '{entry.encoder}'"
            problems.append(recipe.problem(path, message, f"it has blocks 0 to {last}"))
        elif not blocks:
            message = f"no fusion reads the blocks '{entry.blocks}' of '{entry.encoder}'"
            hint = f"those that are read are 0 to {read[entry.encoder] - 1}"
            problems.append(recipe.problem(path, message, hint))
        elif twice:
            message = f"block {twice[0]} of '{entry.encoder}' is named twice"
            problems.append(recipe.problem(path, message, "name every block once"))
    if problems:
        raise RecipeError(problems)
    return found


def unfreeze(model: MultimodalModel, recipe: Recipe, num_blocks: Mapping[str, int]) -> None:
    """Declares what `train.unfreeze` names as trainable; `train_from` says when it trains.

    Args:
        model: composed from `recipe`.
        recipe: the recipe.
        num_blocks: of each encoder, as its configuration says.

    Raises:
        RecipeError: an entry names blocks that cannot train.
    """
    entries = recipe.train.unfreeze or []
    all_blocks = read_blocks(recipe, num_blocks, model.blocks_read())
    found = []
    for number, (entry, blocks) in enumerate(zip(entries, all_blocks, strict=True)):
        encoder = cast("Encoder", model.encoders[entry.encoder])
        try:
            names = _parameters(model, entry.encoder, encoder, blocks)
        except TypeError as error:
            path = ("train", "unfreeze", number, "encoder")
            raise RecipeError([recipe.problem(path, str(error), "it stays frozen")]) from error
        low = {str(p.dtype) for n, p in model.named_parameters() if n in names}
        if low != {"torch.float32"}:
            path = ("train", "unfreeze", number, "encoder")
            message = f"weights of {', '.join(sorted(low)).replace('torch.', '')} lose small steps"
            hint = f"set encoders.{entry.encoder}.dtype: float32, and train.bf16: true for speed"
            raise RecipeError([recipe.problem(path, message, hint)])
        found.append(
            Unfrozen(entry.encoder, tuple(blocks), names, entry.from_step, entry.learning_rate)
        )
    model.unfrozen = tuple(found)
    train_from(model, 0)


def train_from(model: MultimodalModel, step: int) -> None:
    """Lets those unfrozen blocks have gradients whose time has come after `step` steps."""
    parameters = dict(model.named_parameters())
    for group in model.unfrozen:
        for name in group.parameters:
            parameters[name].requires_grad_(step >= group.from_step)
            if step < group.from_step:
                parameters[name].grad = None


class Waiting:
    """Blocks that take part in a distributed run from its start, but learn nothing yet.

    DistributedDataParallel averages the gradients of those parameters alone that require them when
    it wraps the model. So these do, their gradients are zero while they wait, and the optimiser is
    shown none, for it would decay their weights.

    Args:
        model: before it is wrapped.
    """

    def __init__(self, model: MultimodalModel) -> None:
        parameters = dict(model.named_parameters())
        self.groups = [
            (group.from_step, [parameters[name] for name in group.parameters])
            for group in model.unfrozen
        ]
        self.handles: list[tuple[int, Any]] = []
        for from_step, own in self.groups:
            for parameter in own:
                parameter.requires_grad_(True)
                self.handles.append((from_step, parameter.register_hook(torch.zeros_like)))

    def begin(self, step: int) -> None:
        """Lets those learn whose time has come after `step` steps."""
        for from_step, handle in self.handles:
            if step >= from_step:
                handle.remove()
        self.handles = [(start, handle) for start, handle in self.handles if step < start]

    def hide(self, step: int) -> None:
        """Takes the gradients of those that still wait away from the optimiser."""
        for from_step, own in self.groups:
            for parameter in own if step < from_step else ():
                parameter.grad = None


def _parameters(
    model: MultimodalModel, name: str, encoder: Encoder, blocks: Sequence[int]
) -> tuple[str, ...]:
    wanted = {id(parameter) for block in blocks for parameter in encoder.block(block).parameters()}
    prefix = f"encoders.{name}."
    return tuple(n for n, p in model.named_parameters() if n.startswith(prefix) and id(p) in wanted)


def names_within(unfrozen: Iterable[Unfrozen], encoder: str) -> set[str]:
    """Names, within an encoder, of its parameters that belong to the adapter."""
    prefix = f"encoders.{encoder}."
    return {
        name.removeprefix(prefix)
        for group in unfrozen
        if group.encoder == encoder
        for name in group.parameters
    }
