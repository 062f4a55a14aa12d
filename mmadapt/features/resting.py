"""An encoder whose features are cached lies in main memory, where it takes none of the GPU's."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from mmadapt.ranks import world_size

PATIENCE = 50  # batches in a row without it, once it had to be woken
REST = torch.device("cpu")


class RestingEncoder:
    """Moves an encoder to main memory while no batch needs it, and back when one does.

    Args:
        encoder: frozen; it stays where it is if it lies in shards or on several devices, and where
            several processes train, which send each other all buffers from where they compute.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder
        self.rests = False
        self._home = _device(encoder)
        self._wait = 0  # batches without it until it rests

    def unused(self) -> None:
        """Tells of a batch that did without it."""
        if self.rests or self._home in (None, REST):
            return
        self._wait -= 1
        if self._wait < 0:
            self.encoder.to(REST)
            self.rests = True

    def wake(self) -> None:
        """Moves it back before it runs."""
        self._wait = PATIENCE
        if self.rests:
            self.encoder.to(self._home)
            self.rests = False


def _device(encoder: nn.Module) -> torch.device | None:
    """The one device of all its tensors, or None where it has to stay."""
    if world_size() > 1 or any(isinstance(part, FSDPModule) for part in encoder.modules()):
        return None
    devices = {tensor.device for tensor in encoder.state_dict().values()}
    return devices.pop() if len(devices) == 1 else None
