"""Whether a sample fits into the LM, media counted, and what becomes of one that does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmadapt.errors import DataError
from mmadapt.types import IGNORE_INDEX, TextInputs

if TYPE_CHECKING:
    from mmadapt.data.items import Item

TooLong = Literal["error", "skip", "truncate_prompt"]
_WAYS: Mapping[TooLong, str] = {
    "error": "shorten it, give fewer frames, or set data.too_long to skip or truncate_prompt",
    "skip": "it is left out",
    "truncate_prompt": "it does not fit even without its prompt",
}


FEWER_MEDIA = (
    "its media alone fill that: give fewer files or frames, fewer tokens for each (the pool of "
    "prefix, scales, num_tokens), or an LM with more positions"
)


class TooLongError(DataError):
    """A sample that does not fit into the LM."""


@dataclass(frozen=True)
class InsertedTokens:
    """How many tokens the fusions put into a sample's text, as a sum over its media.

    Args:
        without_media: for a sample that has none.
        with_media: for one that has any, beside what each file and item adds.
        per_file: by encoder.
        per_item: by encoder, for each frame, picture or segment.
    """

    without_media: int = 0
    with_media: int = 0
    per_file: Mapping[str, int] = field(default_factory=dict)
    per_item: Mapping[str, int] = field(default_factory=dict)

    def count(self, media: Sequence[tuple[str, int]]) -> int:
        """The tokens of a sample.

        Args:
            media: its files as the encoders read them: an encoder's name, and the number of items.

        Example:
            >>> InsertedTokens(1, 0, {"image": 2}, {"image": 3}).count([("image", 1)])
            5
        """
        if not media:
            return self.without_media
        added = (
            self.per_file.get(name, 0) + items * self.per_item.get(name, 0) for name, items in media
        )
        return self.with_media + sum(added)


@dataclass(frozen=True)
class LengthLimit:
    """The longest sample that is taken; media tokens count and are never cut.

    Args:
        max_length: tokens of text, media and answer together; None takes all.
        too_long: `error`; `skip`: go on without the sample; `truncate_prompt`: cut the prompt from
            its beginning (after BOS) until the sample fits. What carries labels is never cut.
        inserted: what the fusions add to a text.
        reserved: tokens that are still to be generated.
    """

    max_length: int | None = None
    too_long: TooLong = "error"
    inserted: InsertedTokens = InsertedTokens()
    reserved: int = 0

    def excess(self, item: Item) -> int:
        """By how many tokens a sample is too long; 0 where it fits."""
        if self.max_length is None:
            return 0
        return max(0, self._length(item) - self.max_length)

    def fitted(self, item: Item, prefix: int) -> Item:
        """The sample with its prompt cut to fit.

        Args:
            item: with its media.
            prefix: special tokens at the beginning, which stay.

        Raises:
            TooLongError: it does not fit even without its prompt, or is not to be cut.
        """
        excess = self.excess(item)
        if not excess:
            return item
        labelled = np.flatnonzero(item.labels != IGNORE_INDEX)
        end = int(labelled[0]) if len(labelled) else len(item.input_ids) - 1
        if self.too_long != "truncate_prompt" or end - prefix < excess:
            raise self.error(item)
        kept = np.r_[:prefix, prefix + excess : len(item.input_ids)]
        positions = item.media_positions
        moved = np.where(positions > prefix, np.maximum(positions - excess, prefix), positions)
        return replace(
            item,
            input_ids=item.input_ids[kept],
            labels=item.labels[kept],
            media_positions=moved,
        )

    def error(self, item: Item) -> TooLongError:
        """Says how long a sample is and how long it may be."""
        text, total = len(item.input_ids), self._length(item)
        parts = [f"{text} of text"]
        if total - text - self.reserved:
            parts.append(f"{total - text - self.reserved} of media")
        if self.reserved:
            parts.append(f"{self.reserved} to generate")
        detail = f" ({', '.join(parts)})" if len(parts) > 1 else ""
        way = _WAYS[self.too_long]
        if self.max_length is not None and total - text - self.reserved >= self.max_length:
            way = FEWER_MEDIA
        return TooLongError(
            "sample", item.id, f"has {total} tokens{detail}; at most {self.max_length} fit; {way}"
        )

    def _length(self, item: Item) -> int:
        media = [(medium.encoder, len(medium.values)) for medium in item.media]
        media += [(known.encoder, items) for known in item.cached for items in known.counts]
        return len(item.input_ids) + self.inserted.count(media) + self.reserved


def lm_limit(config: Any, raised: int | None = None) -> int | None:
    """How many tokens an LM takes by its configuration, or more where the recipe says so."""
    own = getattr(config.get_text_config(), "max_position_embeddings", None)
    return None if own is None else max(own, raised or 0)


def refuse_too_long(text: TextInputs, limit: int | None) -> None:
    """Stops before an LM reads past its positions.

    Samples are checked before they are batched; only an encoder whose number of tokens follows the
    file can bring more than was counted then.

    Raises:
        DataError: a row takes more positions than there are.
    """
    if limit is None or text.input_ids.shape[1] <= limit or text.input_ids.is_meta:
        return
    taken = text.attention_mask
    if text.positionless is not None:
        taken = taken & ~text.positionless
    longest, row = taken.sum(dim=1).max(dim=0)
    if int(longest) > limit:
        inserted = sum((span[int(row)] > 0).sum() for span in text.spans.values())
        way = "give fewer frames, or shorten its media or text"
        raise DataError(
            "batch",
            None,
            f"row {int(row)} has {int(longest)} tokens, media included; the LM takes at most "
            f"{limit}; {FEWER_MEDIA if int(inserted) >= limit else way}",
        )
