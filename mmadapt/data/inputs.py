"""What `generate` is given, as samples and as a batch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from mmadapt.contracts import Head, Processor
from mmadapt.data.collate import Collator, padding_id
from mmadapt.data.dataset import MediaDataset
from mmadapt.data.items import Failed
from mmadapt.data.length import LengthLimit
from mmadapt.data.views import InMemory
from mmadapt.errors import DataError
from mmadapt.types import MediaPart, Modality, Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def samples_from_media(
    media: Mapping[str, Any], prompt: Any, modalities: set[str]
) -> tuple[list[Sample], bool]:
    """Turns the arguments of `generate` into samples.

    Args:
        media: by modality a file, an in-memory value, a list of these (a batch), or None. A list of
            pictures given as video is one clip; a list of pictures or sounds in a batch belongs to
            one sample.
        prompt: one for all, one for each, or None for the head's own; each is a text, or the
            messages of a conversation.
        modalities: what the model perceives.

    Returns:
        The samples, and whether a batch was asked for.

    Raises:
        DataError: a modality the model has no encoder for, lists of different lengths, or nothing.
    """
    given = {kind: value for kind, value in media.items() if value is not None}
    if unknown := sorted(set(given) - modalities):
        known = ", ".join(sorted(modalities)) or "nothing"
        raise DataError(
            "generate", None, f"this model has no {unknown[0]} encoder; it takes {known}"
        )
    if not given and prompt is None:
        raise DataError("generate", None, "give it media or a prompt")
    lists = {kind: value for kind, value in given.items() if _is_batch(kind, value)}
    if isinstance(prompt, list) and not _is_conversation(prompt):
        lists["prompt"] = prompt
    counts = {kind: len(value) for kind, value in lists.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        described = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
        raise DataError("generate", None, f"lists must have the same length, from 1: {described}")
    samples: list[Sample] = []
    for row in range(next(iter(counts.values()), 1)):
        parts = [
            _part(kind, one)
            for kind, value in given.items()
            for one in _several(kind, value[row] if kind in lists else value)
        ]
        sample: Sample = {"id": f"input {row + 1}", "media": parts}
        if prompt is not None:
            asked = prompt[row] if "prompt" in lists else prompt
            key = "messages" if _is_conversation(asked) else "prompt"
            sample[key] = asked  # type: ignore[literal-required]
        samples.append(sample)
    return samples, bool(lists)


def collate_prompts(
    samples: Sequence[Sample],
    head: Head,
    tokenizer: PreTrainedTokenizerBase,
    processors: Mapping[str, tuple[str, Processor]],
    limit: LengthLimit | None = None,
) -> dict[str, Any]:
    """The batch that `generate_batch` takes.

    Raises:
        MediaError: a file cannot be read.
        DataError: a sample cannot be used, or is longer than `limit` allows.
    """
    dataset = MediaDataset(
        InMemory(samples), head, tokenizer, processors, training=False, limit=limit
    )
    items = [dataset[index] for index in range(len(samples))]
    for item in items:
        if isinstance(item, Failed):
            raise item.error
    return Collator(padding_id(tokenizer), with_labels=False)(items)


def _several(kind: str, value: Any) -> list[Any]:
    """The media of one kind in one sample."""
    return value if isinstance(value, list) and kind != "video" else [value]


def _is_conversation(prompt: Any) -> bool:
    """Whether a prompt is a list of messages rather than a text or a list of prompts."""
    return isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], Mapping)


def _is_batch(kind: str, value: Any) -> bool:
    """Whether a value is a list of media rather than one."""
    if not isinstance(value, list):
        return False
    return kind != "video" or not value or _is_medium(value[0])


def _is_medium(value: Any) -> bool:
    """Whether an element of a video list is a clip itself, not a frame of one."""
    return isinstance(value, str | os.PathLike | list) or getattr(value, "ndim", 0) == 4


def _part(kind: str, value: Any) -> MediaPart:
    modality = cast(Modality, kind)
    if isinstance(value, str | os.PathLike):
        return {"type": modality, "path": os.fspath(value)}
    return {"type": modality, "value": value}
