"""Experts that start from a trained dense adapter (sparse upcycling, arXiv 2212.05055).

The dense feed-forward part is copied to every replica, and each replica is cut along its inner
width; the slices of one replica sum exactly to the dense part. Everything else is taken over.

`copy`: the world expert is a copy of the dense part and the router is random: with raw gates the
routed sum is small beside it. `exact`: router rows of a replica are equal, so a token's picks are
one whole replica with equal gates 1/M, which `scale: M` undoes; the world expert says nothing yet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mmadapt.adapters.checkpoint import WEIGHTS, check_tensors, read_tensors
from mmadapt.errors import AdapterError
from mmadapt_evlm.moe import Moe


def weights_file(folder: str) -> Path:
    """The adapter's weights in an adapter or run folder; the file need not exist."""
    path = Path(folder).expanduser()
    in_run = path / "adapter" / WEIGHTS
    return in_run if in_run.is_file() else path / WEIGHTS


@torch.no_grad()
def upcycle(moe: Moe, up: Tensor, down: Tensor, start: Literal["copy", "exact"]) -> None:
    """Fills experts, world expert and router from a dense part: up (inner, d), down (d, inner)."""
    config = moe.config
    replicas, slices = config.num_replicas, config.num_slices
    moe.experts.up.copy_(up.unflatten(0, (slices, -1)).repeat(replicas, 1, 1))
    moe.experts.down.copy_(down.unflatten(1, (slices, -1)).transpose(0, 1).repeat(replicas, 1, 1))
    if start == "exact":
        rows = moe.router.weight[::slices]
        moe.router.weight.copy_(rows.repeat_interleave(slices, dim=0))
    if moe.world is not None:
        moe.world.up.weight.copy_(up[: moe.world.up.out_features])
        moe.world.down.weight.copy_(down[:, : moe.world.up.out_features])
        if start == "exact":
            moe.world.down.weight.zero_()


@torch.no_grad()
def upcycle_from(fusion: nn.Module, name: str, file: Path, start: Literal["copy", "exact"]) -> None:
    """Loads a dense adapter into a fusion whose feed-forward parts are experts.

    Args:
        fusion: with experts in all its blocks.
        name: of the fusion, in the dense adapter too.
        file: the dense adapter's weights.
        start: `copy` or `exact`.

    Raises:
        AdapterError: no such adapter, no fusion of that name in it, or one of other sizes.
    """
    prefix = f"fusions.{name}."
    tensors = read_tensors(file)
    given = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    if not given:
        names = sorted({key.split(".")[1] for key in tensors if key.startswith("fusions.")})
        raise AdapterError(
            f"upcycle_from: {file.parent} has no fusion '{name}', only {', '.join(names)}; give "
            "this fusion the same name"
        )
    moes = {key: part for key, part in fusion.named_modules() if isinstance(part, Moe)}
    own = {
        key: value
        for key, value in fusion.named_parameters()
        if not any(key.startswith(f"{moe}.") for moe in moes)
    }
    check_tensors({**own, **_dense_shapes(moes)}, given)
    for key, value in own.items():
        value.copy_(given[key])
    for key, moe in moes.items():
        upcycle(moe, given[f"{key}.up.weight"], given[f"{key}.down.weight"], start)


def _dense_shapes(moes: dict[str, Moe]) -> dict[str, Tensor]:
    shapes = {}
    for key, moe in moes.items():
        _, part, width = moe.experts.up.shape
        inner = part * moe.config.num_slices
        shapes[f"{key}.up.weight"] = torch.empty(inner, width, device="meta")
        shapes[f"{key}.down.weight"] = torch.empty(width, inner, device="meta")
    return shapes
