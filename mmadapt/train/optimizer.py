"""Parameter groups: every trainable parameter once, with its own learning rate and decay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from mmadapt.contracts import Fusion
from mmadapt.errors import RecipeError, TrainingError

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel
    from mmadapt.recipe import Recipe


def parameter_groups(
    model: MultimodalModel,
    decays: Iterable[str],
    learning_rate: float,
    weight_decay: float,
    recipe: Recipe | None = None,
) -> list[dict[str, Any]]:
    """Groups the trainable parameters for an optimiser.

    A fusion may bring groups of its own (`Fusion.param_groups`); the others get the two that
    transformers uses, with and without decay. A fusion's `learning_rate` in the recipe replaces
    the common one, and so does that of an entry of `train.unfreeze`.

    Args:
        model: whose trainable parameters are meant.
        decays: names of the parameters that weight decay applies to.
        learning_rate: the common one.
        weight_decay: for those in `decays`.
        recipe: where fusions may name a learning rate.

    Raises:
        RecipeError: nothing is trainable.
        TrainingError: a fusion's groups hold what is not declared trainable, or something twice.
    """
    names = set(decays)
    rest = dict(model.trainable_parameters())
    declared = {id(parameter) for parameter in rest.values()}
    if not rest:
        raise RecipeError("this recipe trains nothing: no fusion has a trainable parameter")
    rates = {
        name: group.learning_rate
        for group in model.unfrozen
        if group.learning_rate
        for name in group.parameters
    }
    own_rates = {part.name: part.learning_rate for part in recipe.fusions} if recipe else {}
    groups: list[dict[str, Any]] = []
    for fusion_name, module in model.fusions.items():
        prefix = f"fusions.{fusion_name}."
        mine = {name: rest.pop(name) for name in list(rest) if name.startswith(prefix)}
        rate = own_rates.get(fusion_name) or learning_rate
        given = cast(Fusion, module).param_groups(rate, weight_decay)
        if given is not None:
            groups += given
            told = {id(parameter) for group in given for parameter in group["params"]}
            mine = {
                name: parameter for name, parameter in mine.items() if id(parameter) not in told
            }
        groups += [{**group, "lr": rate} for group in _two(mine, names, weight_decay)]
    for rate in dict.fromkeys(rates.values()):
        mine = {name: rest.pop(name) for name in list(rest) if rates.get(name) == rate}
        groups += [{**group, "lr": rate} for group in _two(mine, names, weight_decay)]
    groups += _two(rest, names, weight_decay)
    _check_declared(model, groups, declared)
    return [group for group in groups if group["params"]]


def _check_declared(
    model: nn.Module, groups: Iterable[Mapping[str, Any]], declared: set[int]
) -> None:
    """Refuses an optimiser that would train more, or less, than what is declared, or some twice."""
    told = [id(parameter) for group in groups for parameter in group["params"]]
    undeclared = [n for n, p in model.named_parameters() if id(p) in set(told) - declared]
    if set(told) != declared or len(told) != len(declared):
        which = f": {', '.join(undeclared[:3])}" if undeclared else ""
        raise TrainingError(
            "the parameter groups of a fusion (`param_groups`) and its trainable parameters are "
            f"not the same, each once{which}; list those with `requires_grad` alone"
        )


def _two(
    parameters: Mapping[str, nn.Parameter], decays: set[str], weight_decay: float
) -> list[dict[str, Any]]:
    with_decay = [parameter for name, parameter in parameters.items() if name in decays]
    without = [parameter for name, parameter in parameters.items() if name not in decays]
    return [
        {"params": with_decay, "weight_decay": weight_decay},
        {"params": without, "weight_decay": 0.0},
    ]
