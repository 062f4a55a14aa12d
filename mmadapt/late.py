"""Tokens that enter the LM at an upper layer: the layers below run on the text without them.

Where all of a fusion's own tokens enter at layer L, nobody sees them below it. With a key/value
cache they must be hidden there, as all layers' caches are equally long. Without one they need not
be there at all: layer 0 takes their rows out of the hidden states, the layers below L get what the
LM hands to each of them (mask, position embeddings) without those rows, and L puts rows back.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import Cache

from mmadapt.contracts import Fusion
from mmadapt.types import State

_KNOWN = ("hidden_states", "attention_mask", "position_ids", "position_embeddings")


def late_fusion(fusions: Sequence[Fusion], num_layers: int) -> Fusion | None:
    """The fusion whose tokens enter late, if no other acts on the layers below."""
    late = [fusion for fusion in fusions if fusion.enters_at > 0]
    if len(late) != 1:
        return None
    others = [i for f in fusions if f is not late[0] for i in f.layers(num_layers)]
    return late[0] if all(i >= late[0].enters_at for i in others) else None


class TextAlone:
    """The columns of one forward that the layers below L run on.

    Args:
        columns: (b, k) numbers of the columns kept, ascending.
        length: s, of the text with all its columns.
    """

    def __init__(self, columns: Tensor, length: int) -> None:
        self.columns, self.length = columns, length
        self._made: dict[str, tuple[Any, Any]] = {}

    @classmethod
    def of(cls, fusion: str, given: dict[str, Any], state: State) -> TextAlone | None:
        """What layer 0 is to keep; None where tokens must stay, or the LM's ways are not known.

        Args:
            fusion: name of the one whose tokens enter late.
            given: the layer's arguments by name.
            state: of the forward.
        """
        span, hidden = state.text.spans.get(fusion), given["hidden_states"]
        length = state.text.input_ids.shape[1]
        if span is None or hidden.shape[:2] != span.shape:
            return None
        if any(isinstance(value, Cache) for value in given.values()):
            return None
        mask = given.get("attention_mask")
        if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 4):
            return None
        others = (value for name, value in given.items() if name not in _KNOWN)
        if any(isinstance(value, Tensor) and length in value.shape for value in others):
            return None  # such as ALiBi's
        # Own tokens go first, and for each that a sample lacks one of its padding columns.
        order = (2 * (span > 0).long() + ~state.text.attention_mask).argsort(dim=1, stable=True)
        kept = order[:, : length - state.text.counts[fusion]]
        return cls(kept.sort(dim=1).values, length)

    def without(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a layer below L that change, without the other columns."""
        changed: dict[str, Any] = {}
        hidden = given["hidden_states"]
        if hidden.shape[1] == self.length:
            changed["hidden_states"] = self._rows(hidden)
        for name, make in (
            ("attention_mask", self._square),
            ("position_ids", self._rows),
            ("position_embeddings", lambda pair: tuple(self._rows(x) for x in pair)),
        ):
            value = given.get(name)
            if value is not None:
                changed[name] = self._once(name, value, make)
        return changed

    def within(self, hidden: Tensor) -> Tensor:
        """(b, s, d): the rows (b, k, d) at their columns, zeros elsewhere."""
        whole = hidden.new_zeros(hidden.shape[0], self.length, hidden.shape[2])
        return whole.scatter(1, self._index(hidden), hidden)

    def _once(self, name: str, value: Any, make: Callable[[Any], Any]) -> Any:
        """Layers given the same object share what was made of it."""
        found = self._made.get(name)
        if found is None or found[0] is not value:
            found = self._made[name] = (value, make(value))
        return found[1]

    def _index(self, like: Tensor) -> Tensor:
        columns = self.columns.to(like.device)
        shape = (*columns.shape, *like.shape[2:])
        return columns.view(*columns.shape, *(1 for _ in like.shape[2:])).expand(shape)

    def _rows(self, value: Tensor) -> Tensor:
        """(b, k, ...) of (b or 1, s, ...)."""
        index = self._index(value)
        return value.expand(len(index), *value.shape[1:]).gather(1, index)

    def _square(self, mask: Tensor) -> Tensor:
        """(b, h, k, k) of (b or 1, h, s, s)."""
        columns = self.columns.to(mask.device)[:, None]
        mask = mask.expand(len(columns), -1, -1, -1)
        heads, kept = mask.shape[1], columns.shape[2]
        rows = columns[..., None].expand(-1, heads, -1, mask.shape[3])
        both = columns[:, :, None].expand(-1, heads, kept, -1)
        return mask.gather(2, rows).gather(3, both)


def named(layer: nn.Module, args: tuple, kwargs: dict) -> dict[str, Any]:
    """A layer's arguments by name."""
    names = inspect.signature(layer.forward).parameters
    return dict(zip(names, args, strict=False)) | kwargs
