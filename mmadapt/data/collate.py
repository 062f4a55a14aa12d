"""From prepared samples to the tensors of a batch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from mmadapt.data.features.rows import no_items, stack_rows, to_plain
from mmadapt.data.items import Cached, Failed, Item, Medium
from mmadapt.errors import DataError
from mmadapt.types import IGNORE_INDEX, MediaInputs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """An id to pad with: the tokenizer's own, else its EOS, else 0.

    Padding is masked, so any id serves. No token is added, so the LM's embeddings keep their size.
    """
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    return 0


class Collator:
    """Pads text on the right and stacks media, encoder by encoder.

    Args:
        pad_token_id: what `input_ids` are padded with.
        with_labels: include `labels`.

    Example:
        >>> from mmadapt.data.collate import Collator
        >>> collate = Collator(pad_token_id=0)
    """

    def __init__(self, pad_token_id: int, *, with_labels: bool = True) -> None:
        self.pad_token_id, self.with_labels = pad_token_id, with_labels

    def __call__(self, results: Sequence[Item | Failed]) -> dict[str, Any]:
        """Builds a batch.

        Returns:
            `input_ids` (b, s), `attention_mask` (b, s) bool, `labels` (b, s) with -100 at
            padding, `media_positions` (b, m) with -1 at padding, `media`: by encoder name, for
            those that any sample has media for, a `MediaInputs`; `failed`: the `Failed` met,
            where there are any; `marks`: where
            the first was streamed. A batch of failures alone has no other key.
        """
        items = [result for result in results if isinstance(result, Item)]
        failed = [failure for item in items for failure in item.failed]
        for result in results:
            if isinstance(result, Failed):
                failed += [*result.others, result]
        batch: dict[str, Any] = {"failed": failed} if failed else {}
        if not items:
            return batch
        if items[0].marks is not None:
            batch["marks"] = items[0].marks
        batch["input_ids"] = _padded([item.input_ids for item in items], self.pad_token_id)
        lengths = torch.tensor([len(item.input_ids) for item in items])
        batch["attention_mask"] = torch.arange(int(lengths.max())) < lengths[:, None]
        if self.with_labels:
            batch["labels"] = _padded([item.labels for item in items], IGNORE_INDEX)
        batch["media_positions"] = _padded([item.media_positions for item in items], -1)
        named = [*(m.encoder for item in items for m in item.media), *_encoded(items)]
        batch["media"] = {name: _inputs(name, items) for name in dict.fromkeys(named)}
        return batch


def _padded(rows: Sequence[np.ndarray], value: int) -> Tensor:
    result = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for padded, row in zip(result, rows, strict=True):
        padded[: len(row)] = row
    return torch.from_numpy(result)


def _encoded(items: Sequence[Item]) -> list[str]:
    """Encoders that need not run for some sample."""
    return [known.encoder for item in items for known in item.cached if known.rows is not None]


def _inputs(name: str, items: Sequence[Item]) -> MediaInputs:
    """One encoder's share: media to encode, and features that are there already.

    Beside `MediaInputs`, `FeatureMemory` reads `contents`, by which new features are kept, and
    `features`: the `rows` that have any, and by fusion what it reads of them. Without any media
    left to encode there are no `values`.
    """
    known: list[Cached | None] = [
        next((cached for cached in item.cached if cached.encoder == name), None) for item in items
    ]
    if not any(known):
        return _stacked(name, items)
    has_media = any(medium.encoder == name for item in items for medium in item.media)
    inputs: Any = _stacked(name, items) if has_media else {}
    inputs["contents"] = [None if cached is None else cached.content for cached in known]
    found = {b: cached.rows for b, cached in enumerate(known) if cached and cached.rows}
    if found:
        first, cpu = next(iter(found.values())), torch.device("cpu")
        if not has_media:  # the others have no media at all
            empty = {fusion: no_items(features) for fusion, features in first.items()}
            found = {b: found.get(b, empty) for b in range(len(items))}
        inputs["features"] = {
            "rows": list(found),
            "fusions": {
                fusion: to_plain(stack_rows([rows[fusion] for rows in found.values()], cpu))
                for fusion in first
            },
        }
    return inputs


def _stacked(name: str, items: Sequence[Item]) -> MediaInputs:
    """One encoder's share of a batch; a sample's files stand one after the other."""
    rows = [[medium for medium in item.media if medium.encoder == name] for item in items]
    all_media = [medium for row in rows for medium in row]
    shape = _common_shape(items, name)
    count = max(sum(len(medium.values) for medium in row) for row in rows)
    batch: MediaInputs = {
        "values": all_media[0].values.new_zeros(len(rows), count, *shape),
        "item": torch.full((len(rows), count), -1),
    }
    masks = [medium.mask for medium in all_media if medium.mask is not None]
    if masks:
        mask_shape = _largest([mask.shape[1:] for mask in masks])
        batch["mask"] = torch.zeros(len(rows), count, *mask_shape, dtype=torch.bool)
    for b, row in enumerate(rows):
        start = 0
        for medium in row:
            stop = start + len(medium.values)
            _fill(batch["values"][b, start:stop], medium.values)
            batch["item"][b, start:stop] = medium.file
            if masks:
                _fill(batch["mask"][b, start:stop], _mask_of(medium, batch["mask"]))
            start = stop
    cast(Any, batch)["keys"] = [_key(row) for row in rows]  # names the content, see FeatureMemory
    return batch


@dataclass(frozen=True)
class MediaKey:
    """Names what one encoder reads of a sample; equal keys mean equal media."""

    files: tuple[tuple[int, Hashable], ...]


def _key(row: Sequence[Medium]) -> MediaKey | None:
    if any(medium.key is None for medium in row):
        return None
    return MediaKey(tuple((medium.file, medium.key) for medium in row))


def _common_shape(items: Sequence[Item], name: str) -> tuple[int, ...]:
    """The item shape that holds all; media of different sizes need masks that tell the padding."""
    shapes = {
        medium.values.shape[1:]: (item.id, medium.mask is not None)
        for item in items
        for medium in item.media
        if medium.encoder == name
    }
    if len(shapes) > 1 and not all(masked for _, masked in shapes.values()):
        described = ", ".join(f"{tuple(shape)} ({key})" for shape, (key, _) in shapes.items())
        reason = f"encoder '{name}' gave items of different shapes without masks: {described}"
        raise DataError("batch", None, reason)
    return _largest(list(shapes))


def _largest(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(max(sizes) for sizes in zip(*shapes, strict=True))


def _fill(target: Tensor, values: Tensor) -> None:
    """Copies into the leading corner of `target`."""
    target[tuple(slice(size) for size in values.shape)] = values


def _mask_of(medium: Medium, like: Tensor) -> Tensor:
    if medium.mask is not None:
        return medium.mask
    return torch.ones(len(medium.values), *like.shape[2:], dtype=torch.bool)
