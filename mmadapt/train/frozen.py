"""Proof that frozen means frozen: checksums of every weight that is not declared trainable.

A checksum adds up a tensor's bits, each element times a random odd number, modulo 2^64: no change
of one element can escape it, and one of several does so with a chance of about 2^-64 (multilinear
hashing; Lemire and Kaser, "Strongly universal string hashing is fast", 2014, section 2). It is
computed where the tensor lies, in chunks, and only the sums leave the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmadapt.errors import TrainingError

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel

CHUNK = 2**16  # elements that one sum is of, on every device; a core's cache holds them
GPU_CHUNKS = 64  # at a time keep a GPU busy, with 100 MB of memory
_MULTIPLIER = 6364136223846793005
_NAMED = 3
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def checksum(tensor: Tensor) -> int:
    """A checksum of a tensor's bits; for a tensor in shards, of this process's own.

    Example:
        >>> import torch
        >>> checksum(torch.zeros(3)) == checksum(torch.tensor([0.0, -0.0, 0.0]))
        False
    """
    own: Any = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    flat = own.detach().contiguous().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    bits = flat.view(_BITS[flat.element_size()])
    factors = _factors(bits.device)
    whole = len(bits) // CHUNK * CHUNK
    sums = [
        (part.view(-1, CHUNK).long() * factors).sum(dim=1)
        for part in bits[:whole].split(CHUNK * _at_once(bits.device))
        if len(part)
    ]
    rest = bits[whole:].long()
    sums.append((rest * factors[: len(rest)]).sum()[None])
    # The product of two chunks' places: an odd number again.
    chunks = torch.cat(sums)
    places = torch.full_like(chunks, _MULTIPLIER).cumprod(dim=0)
    return int((chunks * places).sum())


def frozen_tensors(model: MultimodalModel) -> Iterator[tuple[str, Tensor]]:
    """What training must not change: parameters that are not declared trainable, and what the LM
    and the encoders save besides (running statistics); offloaded ones are left out."""
    trainable = {id(parameter) for parameter in model.trainable_parameters().values()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in trainable and parameter.device.type != "meta":
            yield name, parameter
    saved = model.state_dict().keys()
    for name, buffer in model.named_buffers():
        of_base = not name.startswith("fusions.")
        if of_base and name in saved and buffer.device.type != "meta":
            yield name, buffer


class FrozenProof:
    """The checksums of everything frozen in a model, to be compared later.

    Args:
        model: with its trainable parameters declared.
    """

    def __init__(self, model: MultimodalModel) -> None:
        self.model = model
        self.before = _checksums(model)

    def check(self) -> None:
        """Compares.

        Raises:
            TrainingError: a frozen weight is not what it was; the error names it.
        """
        now = _checksums(self.model)
        changed = [name for name, value in self.before.items() if now.get(name) != value]
        if not changed:
            return
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        raise TrainingError(
            f"{', '.join(changed[:_NAMED])}{more} changed during training without being declared "
            "trainable, so the adapter would not fit the base models; a fusion, head or encoder "
            "writes to it: train it through train.unfreeze, lm.lora or a parameter of the fusion, "
            "or mend that code"
        )


def _checksums(model: MultimodalModel) -> Mapping[str, int]:
    return {name: checksum(tensor) for name, tensor in frozen_tensors(model)}


def _at_once(device: torch.device) -> int:
    """Chunks; the sums do not depend on it, so a tensor may move between devices."""
    return 1 if device.type == "cpu" else GPU_CHUNKS


@lru_cache(maxsize=4)
def _factors(device: torch.device) -> Tensor:
    """(CHUNK,) random odd numbers."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(-(2**63), 2**63 - 1, (CHUNK,), generator=generator)
    return (drawn | 1).to(device)
