"""Tokenising one sample so that training and generation see the same ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmadapt.errors import DataError
from mmadapt.types import IGNORE_INDEX

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MEDIA_MARKER = "<media>"


@dataclass(frozen=True)
class EncodedText:
    """One tokenised sample: ids, labels (-100: not predicted), media insertion columns."""

    input_ids: list[int]
    labels: list[int]
    media_positions: list[int]


def encode_text(
    prompt: str,
    target: str | None,
    num_media: int,
    tokenizer: PreTrainedTokenizerBase,
    sample_id: str,
    with_target: bool,
) -> EncodedText:
    """Tokenises `prompt` and, in training, `target` and EOS behind it.

    The ids of the prompt are those that the prompt alone would give, so that generation continues
    from exactly what was trained. Media stand at the prompt's `<media>` markers; media without a
    marker stand at the start of the text, after BOS.

    Raises:
        DataError: no target to learn from, or more markers than media files.
    """
    if with_target and not (target or "").strip():
        raise DataError("sample", sample_id, "has no target text to learn from")
    pieces = prompt.split(MEDIA_MARKER)
    if len(pieces) - 1 > num_media:
        raise DataError(
            "sample",
            sample_id,
            f"has {len(pieces) - 1} {MEDIA_MARKER} markers but {num_media} media files",
        )
    bos = special_prefix(tokenizer)
    ids = list(bos)
    positions = [len(ids)] * (num_media - len(pieces) + 1)
    for number, piece in enumerate(pieces):
        if number:
            positions.append(len(ids))
        ids += plain_ids(tokenizer, piece)
    labels = [IGNORE_INDEX] * len(ids)
    if with_target:
        answer = continuation_ids(tokenizer, pieces[-1], (target or "").strip())
        if tokenizer.eos_token_id is not None:
            answer.append(tokenizer.eos_token_id)
        ids, labels = ids + answer, labels + answer
    return EncodedText(ids, labels, positions)


def plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of `text` without special tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def continuation_ids(tokenizer: PreTrainedTokenizerBase, text: str, target: str) -> list[int]:
    """The ids that follow those of `text` when `target` continues it, a space between the two."""
    if not text:
        return plain_ids(tokenizer, target)
    separator = "" if text[-1].isspace() else " "
    before, both = plain_ids(tokenizer, text), plain_ids(tokenizer, text + separator + target)
    if both[: len(before)] == before:
        return both[len(before) :]
    return plain_ids(tokenizer, separator + target)


def special_prefix(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before any text: BOS, or nothing."""
    with_special = list(tokenizer("a")["input_ids"])
    plain = plain_ids(tokenizer, "a")
    for start in range(len(with_special) - len(plain) + 1):
        if with_special[start : start + len(plain)] == plain:
            return with_special[:start]
    return []
