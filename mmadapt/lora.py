"""LoRA in a frozen LM beside a fusion, through peft; taken out again without a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from mmadapt.errors import MissingDependency, ModelError
from mmadapt.faults import reason_of


def add_lora(lm: nn.Module, options: Mapping[str, Any]) -> Callable[[], None]:
    """Puts trainable LoRA matrices beside the frozen weights of the LM.

    They are float32 whatever the LM's own precision is, as small steps are lost in bfloat16.

    Args:
        lm: changed in place; its class and frozen weights stay.
        options: `r`, `alpha`, `target_modules`, `dropout`.

    Returns:
        What takes them out: the LM's own layers stand in their places again.

    Raises:
        MissingDependency: peft is not installed.
        ModelError: peft finds none of the target modules.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingDependency("lm.lora", "peft", "mmadapt[lora]") from error
    config = LoraConfig(
        r=options.get("r", 8),
        lora_alpha=options.get("alpha", 16),
        target_modules=options.get("target_modules", "all-linear"),
        lora_dropout=options.get("dropout", 0.0),
    )
    frozen = {id(parameter) for parameter in lm.parameters()}
    before = set(vars(lm))
    try:
        inject_adapter_in_model(config, lm)
    except ValueError as error:
        raise ModelError(f"lm.lora: {reason_of(error)}") from error
    for parameter in lm.parameters():
        is_new = id(parameter) not in frozen
        parameter.requires_grad_(is_new)
        if is_new:
            parameter.data = parameter.data.to(torch.float32)

    def undo() -> None:
        _take_out(lm)
        for name in set(vars(lm)) - before:
            delattr(lm, name)

    return undo


def _take_out(lm: nn.Module) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for parent in list(lm.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                setattr(parent, name, child.get_base_layer())
