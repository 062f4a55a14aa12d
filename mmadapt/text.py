"""Tokenising one sample so that training and generation see the same ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmadapt.errors import DataError, ModelError
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
    *,
    separator: str = " ",
    learn_prompt: bool = False,
) -> EncodedText:
    """Tokenises `prompt` and, in training, `target` and EOS behind it.

    The ids of the prompt are those that the prompt alone would give, so that generation continues
    from exactly what was trained. Media stand at the prompt's `<media>` markers; media without a
    marker stand at the start of the text, after BOS. `separator` stands between prompt and target;
    `learn_prompt` labels the prompt too, all but BOS.

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
        if learn_prompt:
            labels[len(bos) :] = ids[len(bos) :]
        answer = target_ids(tokenizer, pieces[-1], (target or "").strip(), separator)
        ids, labels = ids + answer, labels + answer
    return EncodedText(ids, labels, positions)


def target_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: str, target: str, separator: str = " "
) -> list[int]:
    """The ids of a target behind `prompt` (what follows its last `<media>` counts), then EOS."""
    last = prompt.rpartition(MEDIA_MARKER)[2]
    ids = continuation_ids(tokenizer, last, target, separator)
    return ids if tokenizer.eos_token_id is None else [*ids, tokenizer.eos_token_id]


def preview(encoded: EncodedText, tokenizer: PreTrainedTokenizerBase) -> str:
    """One line that shows a sample: what is learnt in `[…]`, media as `<media>`, and the counts."""
    shown, run = [], list[int]()
    length = len(encoded.input_ids)
    for column in range(length + 1):
        at_media = encoded.media_positions.count(column)
        learnt, before = (
            0 <= place < length and encoded.labels[place] != IGNORE_INDEX
            for place in (column, column - 1)
        )
        if run and (at_media or learnt != before or column == length):
            text = str(tokenizer.decode(run)).replace("\n", "\\n")
            shown.append(f"[{text}]" if before else text)
            run = []
        shown += [MEDIA_MARKER] * at_media
        run += encoded.input_ids[column : column + 1]
    count = sum(label != IGNORE_INDEX for label in encoded.labels)
    return f"{' '.join(shown)} ({length - count} tokens given, {count} learnt)"


def plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of `text` without special tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def continuation_ids(
    tokenizer: PreTrainedTokenizerBase, text: str, target: str, separator: str = " "
) -> list[int]:
    """The ids that follow those of `text` when `target` continues it, `separator` between them.

    The separator is left out where `text` is empty or ends with a space.
    """
    if not text:
        return plain_ids(tokenizer, target)
    separator = "" if text[-1].isspace() else separator
    before, both = plain_ids(tokenizer, text), plain_ids(tokenizer, text + separator + target)
    if both[: len(before)] == before:
        return both[len(before) :]
    return plain_ids(tokenizer, separator + target)


def add_special_tokens(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], rows: int | None = None
) -> None:
    """Gives the tokenizer the tokens that it lacks, each a single id from now on.

    The frozen LM is never resized: new ids take the spare rows that its embeddings have beyond the
    vocabulary, so what those tokens mean is left to the fusion.

    Args:
        tokenizer: changed in place.
        tokens: what a head needs.
        rows: number of rows of the LM's embeddings; None leaves it unchecked.

    Raises:
        ModelError: there is no spare row.
    """
    missing = [token for token in tokens if token not in tokenizer.get_vocab()]
    if not missing:
        return
    if rows is not None and len(tokenizer) + len(missing) > rows:
        raise ModelError(
            f"the tokens {', '.join(missing)} need rows {len(tokenizer)} and on of the LM's "
            f"embeddings, which have {rows}; leave them out of the head's special_tokens"
        )
    tokenizer.add_tokens(missing, special_tokens=True)


def special_prefix(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before any text: BOS, or nothing."""
    with_special = list(tokenizer("a")["input_ids"])
    plain = plain_ids(tokenizer, "a")
    for start in range(len(with_special) - len(plain) + 1):
        if with_special[start : start + len(plain)] == plain:
            return with_special[:start]
    return []


def word_ids(text: str) -> list[int]:
    """An id for each word, which stands in where there is no tokenizer and only numbers count."""
    return [0] * len(text.split())
