"""Where training starts: from scratch, or from an adapter of an earlier stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from mmadapt.adapters.checkpoint import WEIGHTS, check_tensors, read_tensors
from mmadapt.contracts import Fusion
from mmadapt.errors import AdapterError, RecipeError

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel
    from mmadapt.recipe import Recipe


def start_folder(recipe: Recipe) -> Path | None:
    """The adapter folder that `train.start_from` names, itself or as a run's; None without one.

    Raises:
        RecipeError: there is no adapter.
    """
    name = recipe.train.start_from
    if name is None:
        return None
    folder = Path(name).expanduser()
    for place in (folder / "adapter", folder):
        if (place / WEIGHTS).is_file():
            return place
    message = f"'{name}' is neither an adapter nor a run that has one"
    hint = "train the earlier stage first"
    raise RecipeError([recipe.problem(("train", "start_from"), message, hint)])


@torch.no_grad()
def start_from(model: MultimodalModel, recipe: Recipe) -> None:
    """Takes over the weights of the adapter that `train.start_from` names.

    Names and shapes must agree; the base models may differ (another image size, say). A fusion
    whose own options gave it weights keeps them.

    Args:
        model: changed in place.
        recipe: with or without `train.start_from`.

    Raises:
        RecipeError: there is no such adapter, or it does not fit.
    """
    folder = start_folder(recipe)
    if folder is None:
        return
    started = tuple(
        f"fusions.{n}." for n, f in model.fusions.items() if cast(Fusion, f).has_started
    )
    own = {n: t for n, t in model.adapter_state_dict().items() if not n.startswith(started)}
    given = {n: t for n, t in read_tensors(folder / WEIGHTS).items() if not n.startswith(started)}
    try:
        check_tensors(own, given)
    except AdapterError as error:
        problem = recipe.problem(("train", "start_from"), f"{folder}: {error}")
        raise RecipeError([problem]) from error
    for tensor_name, tensor in own.items():
        tensor.copy_(given[tensor_name])
