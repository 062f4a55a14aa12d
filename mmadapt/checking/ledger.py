"""Counts the bytes of tensors that are alive, and by whom they were made.

Alone it counts what is really allocated; inside `imagined()` tensors of floats have sizes and no
values, so that a step of a 7B model is counted in seconds and takes no memory.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

OTHER = "other"
_INDEXED = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
)


class Ledger(TorchDispatchMode):
    """While it is on, the storage of every new tensor is entered under the current owner's name.

    Attributes:
        live: bytes alive now, by owner.
        peak: bytes by owner at the moment when most were alive.

    Example:
        >>> with Ledger() as ledger, ledger.owned_by("mine"):
        ...     x = torch.ones(4) * 2
        >>> ledger.live["mine"], ledger.total(ledger.peak)
        (16, 32)
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._owners = [OTHER]
        self._entries: dict[int, tuple[weakref.ref, str, int]] = {}
        self._most = 0

    @staticmethod
    def total(counts: Counter[str]) -> int:
        """All bytes of a count."""
        return sum(counts.values())

    @contextmanager
    def owned_by(self, owner: str) -> Iterator[None]:
        """What is made inside the block belongs to `owner`."""
        self._owners.append(owner)
        try:
            yield
        finally:
            self._owners.pop()

    def enter(self, tensor: Tensor, owner: str | None = None) -> None:
        """Enters a tensor's storage, or gives one that is known to another owner."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._entries:
            if owner is None:
                return
            self._leave(key)
        owner = self._owners[-1] if owner is None else owner
        size = storage.nbytes()
        self._entries[key] = (weakref.ref(storage, lambda _: self._leave(key)), owner, size)
        self.live[owner] += size
        self._note_peak()

    def enter_module(self, module: nn.Module, owner: str) -> None:
        """Enters the parameters and buffers of a module."""
        for tensor in (*module.parameters(), *module.buffers()):
            self.enter(tensor, owner)

    def forget_peak(self) -> None:
        """The peak is sought anew from here."""
        self._most = 0
        self._note_peak()

    def _leave(self, key: int) -> None:
        _, owner, size = self._entries.pop(key)
        self.live[owner] -= size

    def _note_peak(self) -> None:
        total = self.total(self.live)
        if total > self._most:
            self._most, self.peak = total, Counter(self.live)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = _run(func, args, kwargs or {})
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self.enter(leaf)
        return found


@contextmanager
def imagined() -> Iterator[None]:
    """Inside, new tensors of floats are imagined; a `Ledger` inside keeps ids and masks real."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def _run(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Runs an operator: for real where nothing is imagined, so that ids and masks have values."""
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if any(isinstance(tensor, FakeTensor) for tensor in given):
        if func is torch.ops.aten.bincount.default:
            return _spread_evenly(*args, **kwargs)
        if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype is torch.bool:
            return True  # a flag among the buffers of a model that has been trained
        if func in _INDEXED:
            args = (args[0], _without_masks(args[1]), *args[2:])
        return func(*args, **kwargs)
    if given or _makes_no_floats(func, args, kwargs):
        with unset_fake_temporarily():
            return func(*args, **kwargs)
    return func(*args, **kwargs)


def _makes_no_floats(func: Any, args: tuple, kwargs: dict[str, Any]) -> bool:
    dtype = kwargs.get("dtype")
    if dtype is not None:
        return not (dtype.is_floating_point or dtype.is_complex)
    if func.overloadpacket is torch.ops.aten.full:
        return not isinstance(args[1], float)
    return func.overloadpacket is torch.ops.aten.arange


def _without_masks(indices: Any) -> list[Any]:
    """Indices in which real masks are replaced by the places that they choose."""
    found: list[Any] = []
    for index in indices:
        is_real = isinstance(index, Tensor) and not isinstance(index, FakeTensor)
        if is_real and index.dtype is torch.bool:
            with unset_fake_temporarily():
                found += index.nonzero(as_tuple=True)
        else:
            found.append(index)
    return found


def _spread_evenly(chosen: Tensor, weights: Any = None, minlength: int = 0) -> Tensor:
    """What a router that treats all alike would choose, where imagined values choose nothing."""
    each, rest = divmod(chosen.numel(), max(minlength, 1))
    with unset_fake_temporarily():
        return torch.tensor([each + (index < rest) for index in range(max(minlength, 1))])
