"""The adapter of a model: everything that trains together, and is saved and loaded as one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from mmadapt.freezing.unfreeze import Unfrozen


class AdapterModule(nn.Module):
    """A module whose trainable part is its adapter.

    Attributes:
        unfrozen: encoder blocks that belong to the adapter, from whichever step they train.
        lora_names: parameters of LoRA, which belong to it too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unfrozen: tuple[Unfrozen, ...] = ()
        self.lora_names: frozenset[str] = frozenset()

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """What trains, and what is saved, by name; unfrozen blocks from the start."""
        later = self.unfrozen_parameters() | self.lora_names
        return {n: p for n, p in self.named_parameters() if p.requires_grad or n in later}

    def unfrozen_parameters(self) -> set[str]:
        """Names of the encoder parameters that `train.unfreeze` adds to the adapter."""
        return {name for group in self.unfrozen for name in group.parameters}

    def adapter_tensors(self) -> dict[str, Tensor]:
        """Everything trained together: the fusions, and whatever else is declared trainable.

        Of a model in shards (FSDP2) each is a `DTensor`, of which this process holds a part.
        """
        state = self.state_dict()
        names = {name for name in state if name.startswith("fusions.")}
        names |= set(self.trainable_parameters())
        return {name: state[name].detach() for name in sorted(names)}

    def adapter_state_dict(self) -> dict[str, Tensor]:
        """The adapter's tensors, whole; where the model is in shards, all processes have to ask."""
        return {name: whole(tensor) for name, tensor in self.adapter_tensors().items()}

    def load_adapter_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads what `adapter_state_dict` gave; names and shapes must be the same.

        Raises:
            AdapterError: a name is missing or surplus, or a shape differs.
        """
        from mmadapt.adapters.checkpoint import check_tensors

        own = self.adapter_tensors()
        check_tensors(own, tensors)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(_as_shards(tensors[name], tensor))

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Writes the adapter: safetensors, resolved recipe, base-model fingerprints, card."""
        from mmadapt.adapters.checkpoint import save_adapter

        save_adapter(self, Path(folder))  # type: ignore[arg-type]  # always a MultimodalModel

    def push_to_hub(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Uploads the adapter folder to the Hugging Face hub and returns its address."""
        from mmadapt.adapters.checkpoint import push_adapter

        return push_adapter(self, repo_id, private=private, token=token)  # type: ignore[arg-type]


def whole(tensor: Tensor) -> Tensor:
    """A tensor itself, or what its shards make together, for which all processes have to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _as_shards(tensor: Tensor, like: Tensor) -> Tensor:
    """The same values in the shards of another tensor, where that has any."""
    if not isinstance(like, DTensor):
        return tensor
    values = tensor.to(like.device, like.dtype)
    return distribute_tensor(values, like.device_mesh, like.placements)
