"""The processes of a distributed launch: how many there are, and what they tell each other.

One process alone pays nothing: every function returns at once.
"""

from __future__ import annotations

import atexit
import os
from typing import Any

import torch

from mmadapt.errors import MMAdaptError


def world_size() -> int:
    """How many processes work together."""
    return torch.distributed.get_world_size() if _is_joined() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return torch.distributed.get_rank() if _is_joined() else 0


def join() -> None:
    """Joins the processes of a launch (`torchrun`, `accelerate launch`) that nothing joined yet."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _is_joined():
        torch.distributed.init_process_group("gloo")
        leave_at_exit()


def leave_at_exit() -> None:
    """Has gloo's threads ended before the interpreter's, which may abort the process otherwise."""
    if _is_joined() and torch.distributed.get_backend() == "gloo":
        atexit.register(_leave)


def _leave() -> None:
    if _is_joined():
        torch.distributed.destroy_process_group()


def gather(value: Any) -> list[Any]:
    """What every process gave, in their order."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether any process says so."""
    if world_size() == 1:
        return flag
    told = torch.tensor(int(flag), device=device)
    torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
    return bool(told)


def summed(values: torch.Tensor) -> torch.Tensor:
    """The sum of what the processes give, which carries no gradient."""
    if world_size() == 1:
        return values
    total = values.detach().clone()
    torch.distributed.all_reduce(total)
    return total


def agree(problem: Exception | None, device: torch.device) -> None:
    """Goes on where no process met a problem, and ends all where one did.

    Without it the others would wait for that process in their next collective operation.

    Args:
        problem: that this process met.
        device: of the processes' common operations.

    Raises:
        Exception: the problem itself, in the process that met it.
        MMAdaptError: in the others, which name that process and its problem.
    """
    if any_of(problem is not None, device):
        told = gather(None if problem is None else f"{problem}" or type(problem).__name__)
        if problem is None:
            first = next(number for number, text in enumerate(told) if text is not None)
            raise MMAdaptError(f"process {first} of {len(told)}: {told[first]}")
    if problem is not None:
        raise problem


def _is_joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
