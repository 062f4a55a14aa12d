"""The values that flow between encoder, fusion and language model.

Shape letters, used everywhere: b batch, t media items (frames, images, audio segments), n tokens of
an item, e encoder width, s text positions, d language model width, m media files of a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NotRequired, TypedDict

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

Modality = Literal["image", "video", "audio"]
IGNORE_INDEX = -100
Memory = (
    Any  # what a fusion's `prepare` returns: any pytree of tensors whose first dimension is b or 1
)


@dataclass(frozen=True)
class LevelSpec:
    """The tokens after one encoder block (from 0); `normed` applies the final norm."""

    block: int
    normed: bool = False


class MediaInputs(TypedDict):
    """One encoder's share of a batch: `values` (b, t, ...), `item` (b, t), `mask`.

    `item` numbers the media file that an item (a frame, an image, a segment) belongs to and is -1
    where a sample has fewer items than the longest; `mask` marks the values that are not padding.
    """

    values: Tensor
    item: Tensor
    mask: NotRequired[Tensor]


@dataclass(frozen=True)
class Features:
    """What an encoder says of a batch: one tensor (b, t, n, e) for each requested level.

    `mask` (b, t, n) is False at padding; `item` (b, t) is -1 at padded items; prefix tokens (CLS,
    distillation, registers) come first, `grid` is the (height, width) of the tokens after them.
    """

    levels: tuple[Tensor, ...]
    mask: Tensor
    item: Tensor
    num_prefix_tokens: int = 0
    grid: tuple[int, int] | None = None

    @property
    def has_media(self) -> Tensor:
        """(b,) bool: the samples that have any media."""
        return (self.item >= 0).any(dim=1)


class MediaPart(TypedDict):
    """One media file of a sample: `path`, or `value` for media that are already in memory.

    An `optional` sound is left out where the file has no sound track.
    """

    type: Modality
    path: NotRequired[str]
    value: NotRequired[Any]
    start: NotRequired[float]
    end: NotRequired[float]
    optional: NotRequired[bool]


class Sample(TypedDict):
    """One example of a source; the head says which of the optional fields it needs.

    `origin` is the file and record that it was read from, such as `train.jsonl:4`, for errors.
    """

    id: str
    origin: NotRequired[str]
    prompt: NotRequired[str | None]
    target: NotRequired[str | None]
    messages: NotRequired[list[dict[str, Any]] | None]
    media: NotRequired[list[MediaPart]]
    references: NotRequired[list[str]]
    answers: NotRequired[list[str]]
    answer_weights: NotRequired[list[float]]
    choices: NotRequired[list[str] | None]
    meta: NotRequired[dict[str, Any]]


@dataclass(frozen=True)
class TextInputs:
    """The text of a batch, into which fusions insert their own embeddings.

    Args:
        input_ids: (b, s) token ids; inserted positions hold a placeholder.
        attention_mask: (b, s) bool, True at real positions.
        labels: (b, s) with -100 where nothing is predicted, or None.
        media_positions: (b, m) column before which the sample's k-th media file stands, -1 if
            absent.
        embeds: (b, s, d) with the inserted embeddings, zero elsewhere; None while nothing is
            inserted.
        spans: per fusion (b, s): 1 + the index of the fusion's own token that stands there, else 0.
        positionless: (b, s) bool, True where a token takes no position number.
        counts: per fusion how many tokens it has inserted, absent ones counted.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor | None
    media_positions: Tensor
    embeds: Tensor | None = None
    spans: Mapping[str, Tensor] = field(default_factory=dict)
    positionless: Tensor | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def insert(
        self,
        name: str,
        at: Tensor,
        *,
        embeds: Tensor | None = None,
        ids: Tensor | None = None,
        present: Tensor | None = None,
        positionless: bool = False,
    ) -> TextInputs:
        """Returns a copy with k tokens standing before the columns `at` (b, k).

        They are either `embeds` (b, k, d), owned by fusion `name` and found through its span, or
        ordinary text `ids` (b, k). Tokens that are not `present` (b, k) are masked: nobody attends
        to them and they take no position. Tokens at the same column keep the order they are given
        in.
        """
        batch, length = self.input_ids.shape
        count = at.shape[1]
        device = self.input_ids.device
        if present is None:
            present = torch.ones(batch, count, dtype=torch.bool, device=device)
        old_keys = 2 * torch.arange(length, device=device).expand(batch, -1) + 1
        order = torch.cat([old_keys, 2 * at], dim=1).argsort(dim=1, stable=True)

        def merged(old: Tensor, new: Tensor) -> Tensor:
            both = torch.cat([old, new.to(old.dtype)], dim=1)
            index = order if both.ndim == 2 else order[..., None].expand(-1, -1, both.shape[2])
            return both.gather(1, index)

        def filled(value: int) -> Tensor:
            return torch.full((batch, count), value, device=device)

        zeros = torch.zeros_like(self.input_ids)
        spans = {other: merged(span, filled(0)) for other, span in self.spans.items()}
        all_embeds, counts = self.embeds, self.counts
        if embeds is not None:
            first = 1 + self.counts.get(name, 0)
            own = torch.arange(first, first + count, device=device).expand(batch, -1) * present
            spans[name] = merged(self.spans.get(name, zeros), own)
            counts = {**counts, name: self.counts.get(name, 0) + count}
            if all_embeds is None:
                all_embeds = embeds.new_zeros(batch, length, embeds.shape[2])
        if all_embeds is not None:
            new = (
                all_embeds.new_zeros(batch, count, all_embeds.shape[2])
                if embeds is None
                else embeds
            )
            all_embeds = merged(all_embeds, new)
        no_position = self.positionless
        if no_position is None:
            no_position = zeros.bool()
        shift = (at[:, None, :] <= self.media_positions[:, :, None]).sum(dim=2)
        return replace(
            self,
            input_ids=merged(self.input_ids, filled(0) if ids is None else ids),
            attention_mask=merged(self.attention_mask, present),
            labels=None if self.labels is None else merged(self.labels, filled(IGNORE_INDEX)),
            media_positions=self.media_positions + shift * (self.media_positions >= 0),
            embeds=all_embeds,
            spans=spans,
            positionless=merged(no_position, filled(int(positionless))),
            counts=counts,
        )

    def padded_left(self) -> TextInputs:
        """Returns a copy whose masked columns all stand in front, as generation needs."""
        return self._ordered(self.attention_mask.long().argsort(dim=1, stable=True))

    def padded_right(self) -> TextInputs:
        """Returns a copy whose masked columns all stand behind, out of every attention window."""
        return self._ordered((~self.attention_mask).long().argsort(dim=1, stable=True))

    def _ordered(self, order: Tensor) -> TextInputs:
        def moved(value: Tensor) -> Tensor:
            index = order if value.ndim == 2 else order[..., None].expand(-1, -1, value.shape[2])
            return value.gather(1, index)

        place = order.argsort(dim=1)
        media = self.media_positions
        last = place.shape[1] - 1
        shifted = torch.where(media > last, media, place.gather(1, media.clamp(0, last)))
        return replace(
            self,
            input_ids=moved(self.input_ids),
            attention_mask=moved(self.attention_mask),
            labels=None if self.labels is None else moved(self.labels),
            media_positions=torch.where(media < 0, media, shifted),
            embeds=None if self.embeds is None else moved(self.embeds),
            spans={name: moved(span) for name, span in self.spans.items()},
            positionless=None if self.positionless is None else moved(self.positionless),
        )


@dataclass
class State:
    """Everything that the hooks of one forward or one generation read; the attachment owns it.

    Args:
        text: the inputs after every fusion has inserted its tokens.
        memories: what each fusion prepared, by fusion name.
        labelled: (k,) flat indices of the positions whose logits are wanted, or None for all.
        past_len: positions already in the LM's key/value cache.
        cache: that cache, where the LM uses one.
        aux: per fusion, per layer, what `aux_loss` reads; keyed so that recomputation is harmless.
        stash: what one layer leaves for itself or later ones of the same forward.
        text_alone: the columns that layers below a fusion's late tokens run on, where some do.
        masks: the attention masks last edited: what was given, columns in the LM, the result.
    """

    text: TextInputs
    memories: dict[str, Memory] = field(default_factory=dict)
    labelled: Tensor | None = None
    past_len: int = 0
    cache: Any = None
    aux: dict[str, dict[int, Any]] = field(default_factory=dict)
    stash: dict[tuple[str, int], Any] = field(default_factory=dict)
    text_alone: Any = None
    masks: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        """Rows of the forward, beams counted."""
        return self.text.input_ids.shape[0]

    @property
    def device(self) -> torch.device:
        """Where fusions compute: where the text is."""
        return self.text.input_ids.device

    def columns(self, values: Tensor, length: int, beyond: int = 0) -> Tensor:
        """(b, length): `values` (b, s) at the columns now in the LM; `beyond` after the prompt."""
        now = values[:, self.past_len : self.past_len + length]
        missing = length - now.shape[1]
        return torch.nn.functional.pad(now, (0, missing), value=beyond) if missing else now

    def span(self, name: str, length: int) -> Tensor:
        """(b, length): 1 + index of fusion `name`'s token at the columns now in the LM, else 0."""
        spans = self.text.spans
        if name not in spans:
            return torch.zeros(
                self.batch_size, length, dtype=torch.long, device=self.text.input_ids.device
            )
        return self.columns(spans[name], length)

    def position_ids(self, length: int, pad: int | None = None) -> Tensor:
        """(b, length): position numbers of the columns now in the LM; pads take none, or `pad`."""
        counted = self.text.attention_mask
        if self.text.positionless is not None:
            counted = counted & ~self.text.positionless
        total = self.past_len + length
        missing = max(0, total - counted.shape[1])
        counted = torch.nn.functional.pad(counted, (0, missing), value=True)
        ids = (counted.long().cumsum(dim=1) - 1).clamp_min(0)[:, self.past_len : total]
        if pad is None:
            return ids
        return ids.masked_fill(~self.columns(self.text.attention_mask, length, beyond=True), pad)

    def expand(self, count: int) -> State:
        """Returns the state for `count` beams per sample: rows repeated next to one another."""
        if count == 1:
            return self
        return self._of_rows(lambda value: value.repeat_interleave(count, dim=0))

    def select(self, rows: Tensor) -> State:
        """Returns the state of some rows (k,), in that order; a row may come more than once."""
        return self._of_rows(lambda value: value[rows.to(value.device)])

    def _of_rows(self, change: Callable[[Tensor], Tensor]) -> State:
        batch = self.batch_size

        def changed(value: Tensor) -> Tensor:
            return change(value) if value.ndim and value.shape[0] == batch else value

        fields = {name: getattr(self.text, name) for name in self.text.__dataclass_fields__}
        fields["spans"] = dict(fields["spans"])
        return replace(
            self,
            text=TextInputs(**tree_map_only(Tensor, changed, fields)),
            memories=tree_map_only(Tensor, changed, self.memories),
            stash={},
            text_alone=None,
            masks={},
        )
