"""Tokens that enter the LM at an upper layer: the layers below run on the text without them.

Where all of a fusion's own tokens enter at layer L, nobody sees them below it. With a key/value
cache they must be hidden there, as all layers' caches are equally long. Without one they need not
be there at all: layer 0 takes their rows out of the hidden states, the layers below L get what the
LM hands to each of them (mask, position embeddings) without those rows, and L puts rows back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from transformers import Cache

from mmadapt.contracts import Fusion
from mmadapt.errors import AttachError
from mmadapt.masks import made_once
from mmadapt.types import State

_KNOWN = ("hidden_states", "attention_mask", "position_ids", "position_embeddings")


def late_fusion(fusions: Sequence[Fusion], num_layers: int) -> Fusion | None:
    """The fusion whose tokens enter late, if it and the others leave the layers below alone.

    Its own `layer_input` is only called there where the tokens are.

    Raises:
        AttachError: the LM has no such layer.
    """
    late = [fusion for fusion in fusions if fusion.enters_at > 0]
    for fusion in late:
        if fusion.enters_at >= num_layers:
            raise AttachError(
                f"tokens of fusion '{fusion.name}' enter at layer {fusion.enters_at}, but the LM "
                f"has {num_layers} (0 to {num_layers - 1})"
            )
    if len(late) != 1 or late[0].sites() != {"layer_input"}:
        return None
    others = [fusion for fusion in fusions if fusion is not late[0] and fusion.sites()]
    acting = [i for fusion in others for i in fusion.layers(num_layers)]
    return late[0] if all(i >= late[0].enters_at for i in acting) else None


class TextAlone:
    """The columns of one forward that the layers below L run on.

    Args:
        columns: (b, k) numbers of the columns kept, ascending.
        length: s, of the text with all its columns.
    """

    def __init__(self, columns: Tensor, length: int) -> None:
        self.columns, self.length = columns, length
        self._made: dict[str, list[Any]] = {}

    @classmethod
    def of(cls, fusion: str, given: dict[str, Any], state: State) -> TextAlone | None:
        """What layer 0 is to keep; None where tokens must stay, or the LM's ways are not known.

        Args:
            fusion: name of the one whose tokens enter late.
            given: the layer's arguments by name.
            state: of the forward.
        """
        span = state.text.spans.get(fusion)
        if span is None or state.cache is not None:
            return None
        length, own = span.shape[1], state.text.counts[fusion]
        if length == own or given["hidden_states"].shape[:2] != span.shape:
            return None
        if not _can_be_taken_apart(given, length):
            return None
        # Sorted last, so dropped: own tokens, and a padding column for each that a sample lacks.
        order = (2 * (span > 0).long() + ~state.text.attention_mask).argsort(dim=1, stable=True)
        return cls(order[:, : length - own].sort(dim=1).values, length)

    def without(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a layer below L that change, without the other columns."""
        changed: dict[str, Any] = {}
        hidden = given["hidden_states"]
        if hidden.shape[1] == self.length:
            changed["hidden_states"] = self._rows(hidden)
        for name, make in (
            ("attention_mask", self._square),
            ("position_ids", self._rows),
            ("position_embeddings", lambda pair: tree_map(self._rows, pair)),
        ):
            value = given.get(name)
            if value is not None:
                changed[name] = made_once(self._made, name, value, partial(make, value))
        return changed

    def within(self, hidden: Tensor) -> Tensor:
        """(b, s, d): the rows (b, k, d) at their columns, zeros elsewhere."""
        whole = hidden.new_zeros(hidden.shape[0], self.length, hidden.shape[2])
        return whole.scatter(1, self._index(hidden), hidden)

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


def _can_be_taken_apart(given: dict[str, Any], length: int) -> bool:
    """Whether a layer is given what is known to have a row for each column, and no key/value cache.

    ALiBi's biases, say, are in no argument that is known.
    """
    for name, value in given.items():
        if name in _KNOWN:
            pair = value if isinstance(value, tuple) else (value,)
            if not all(x is None or _fits(name, x, length) for x in pair):
                return False
        elif isinstance(value, Cache) or any(
            isinstance(x, Tensor) and length in x.shape for x in tree_leaves(value)
        ):
            return False
    return True


def _fits(name: str, value: Any, length: int) -> bool:
    shape = tuple(value.shape) if isinstance(value, Tensor) else ()
    if name == "attention_mask":
        return len(shape) == 4 and shape[2:] == (length, length)
    dimensions = 2 if name == "position_ids" else 3
    return len(shape) == dimensions and shape[1] == length
