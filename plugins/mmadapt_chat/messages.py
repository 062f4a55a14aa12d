"""What is said in a sample: messages of plain text, with `<media>` where media stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from mmadapt.errors import DataError
from mmadapt.text import MEDIA_MARKER
from mmadapt.types import Modality, Sample

Message = dict[str, str]
MODALITIES = get_args(Modality)


def messages_of(sample: Sample, prompt: str | None, system: str | None) -> list[Message]:
    """The conversation of a sample, or the one that its prompt and target make.

    Media without a marker stand at the beginning of the first user's turn.

    Args:
        sample: with `messages`, or with `prompt` and perhaps a target.
        prompt: the user's turn where the sample has none.
        system: the system prompt where the sample has none.

    Raises:
        DataError: nothing is asked, a message cannot be used, or there are more markers than media.
    """
    given = sample.get("messages")
    if given:
        messages = [_message(sample, message) for message in given]
    else:
        messages = _of_prompt(sample, prompt)
    if system is not None and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    _mark_media(sample, messages)
    return messages


def _of_prompt(sample: Sample, prompt: str | None) -> list[Message]:
    asked = sample.get("prompt") or prompt
    if not asked:
        reason = "says nothing: give it messages or a prompt, or give `prompt:` in the head"
        raise DataError("sample", sample["id"], reason)
    answers = sample.get("answers") or sample.get("references") or []
    target = sample.get("target") or next(iter(answers), None)
    said = [{"role": "assistant", "content": target.strip()}] if target else []
    return [{"role": "user", "content": asked}, *said]


def _message(sample: Sample, message: dict[str, Any]) -> Message:
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not isinstance(content, str | list):
        raise DataError("sample", sample["id"], "has a message without role or content")
    if isinstance(content, list):
        content = "".join(_part(sample, part) for part in content)
    if role == "assistant" and MEDIA_MARKER in content:
        raise DataError("sample", sample["id"], "has media in a turn of the assistant")
    return {"role": role, "content": content.strip() if role == "assistant" else content}


def _part(sample: Sample, part: dict[str, Any]) -> str:
    if part.get("type") == "text":
        return str(part.get("text") or "")
    if part.get("type") in MODALITIES:
        return MEDIA_MARKER
    known = ", ".join(("text", *MODALITIES))
    reason = f"has a part of type {part.get('type')!r} in a message; known: {known}"
    raise DataError("sample", sample["id"], reason)


def _mark_media(sample: Sample, messages: Sequence[Message]) -> None:
    count = len(sample.get("media") or ())
    marked = sum(message["content"].count(MEDIA_MARKER) for message in messages)
    if marked > count:
        reason = f"has {marked} {MEDIA_MARKER} markers but {count} media files"
        raise DataError("sample", sample["id"], reason)
    first = next((message for message in messages if message["role"] == "user"), None)
    if marked < count:
        if first is None:
            reason = f"has media but no user's turn to show them in; write {MEDIA_MARKER}"
            raise DataError("sample", sample["id"], reason)
        first["content"] = MEDIA_MARKER * (count - marked) + first["content"]
