"""Whether a sample has the form that heads, encoders and metrics rely on."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from mmadapt.text import MEDIA_MARKER
from mmadapt.types import MediaPart, Modality, Sample

_TEXTS = ("prompt", "target")
_LISTS = ("references", "answers", "choices")


def sample_problems(sample: Any) -> list[str]:
    """What is wrong with a sample, one phrase each; nothing for a good one.

    Example:
        >>> sample_problems({"id": "1", "target": 3})
        ["'target' is int, not text"]
    """
    if not isinstance(sample, Mapping):
        return [f"a sample is a dictionary, not {type(sample).__name__}"]
    return list(_problems(sample))


def _problems(sample: Mapping[str, Any]) -> Iterator[str]:
    if unknown := set(sample) - set(Sample.__annotations__):
        yield f"unknown keys {sorted(unknown)}; what is your own goes into 'meta'"
    if not isinstance(sample.get("id"), str) or not sample["id"]:
        yield f"'id' is {sample.get('id')!r}, not a text"
    for key in _TEXTS:
        if not isinstance(sample.get(key), str | None):
            yield f"'{key}' is {type(sample[key]).__name__}, not text"
    for key in _LISTS:
        value = sample.get(key)
        if value is not None and not _are_texts(value):
            yield f"'{key}' is {value!r}, not a list of texts"
    if not isinstance(sample.get("meta", {}), dict):
        yield "'meta' is not a dictionary"
    yield from _answer_problems(sample)
    media = sample.get("media") or []
    for part in media:
        yield from _media_problems(part)
    markers = str(sample.get("prompt") or "").count(MEDIA_MARKER)
    if markers > len(media):
        yield f"the prompt has {markers} {MEDIA_MARKER} markers but {len(media)} media"


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _answer_problems(sample: Mapping[str, Any]) -> Iterator[str]:
    weights, answers = sample.get("answer_weights"), sample.get("answers") or []
    if weights is not None:
        if len(weights) != len(answers):
            yield f"{len(weights)} answer_weights for {len(answers)} answers"
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            yield f"answer_weights {weights} are not all above 0"
    choices = sample.get("choices")
    if choices and answers and not set(answers) <= set(choices):
        yield f"the answers {answers} are not all among the choices {choices}"
    for message in sample.get("messages") or []:
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            yield f"a message is {message!r}; it needs 'role' and 'content'"


def _media_problems(part: Any) -> Iterator[str]:
    if not isinstance(part, Mapping):
        yield f"a media part is {part!r}, not a dictionary"
        return
    if part.get("type") not in get_args(Modality):
        yield f"a media part is of type {part.get('type')!r}; known: {get_args(Modality)}"
    if unknown := set(part) - set(MediaPart.__annotations__):
        yield f"a media part has unknown keys {sorted(unknown)}"
    if ("path" in part) == ("value" in part):
        yield "a media part has either 'path' or 'value'"
    elif "path" in part and not isinstance(part["path"], str):
        yield f"a media path is {type(part['path']).__name__}, not text, which travels anywhere"
    elif "path" in part and not os.path.isfile(part["path"]):
        yield f"names a file that does not exist: {part['path']}"
    if part.get("start", 0.0) >= part.get("end", math.inf):
        yield f"a media part starts at {part.get('start')} s, after its end at {part['end']} s"
