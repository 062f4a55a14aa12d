"""What one record says: captions, a question with its answers, choices, or a conversation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

from mmadapt.errors import did_you_mean
from mmadapt.types import Modality

Fail = Callable[[str], Exception]
Fields = dict[str, Any]

MODALITIES: tuple[Modality, ...] = get_args(Modality)
_SAID = ("caption", "captions", "answer", "answers", "messages")
_LABEL = "label"  # counts where nothing else is said; beside a caption it is something of their own
KEYS = frozenset({*_SAID, "prompt", "question", "choices"})
ROLES = ("system", "user", "assistant")


def read_texts(record: Fields, fail: Fail) -> Fields:
    """Checks the texts of a record.

    Args:
        record: The parsed line.
        fail: Makes the error that tells a reason.

    Returns:
        The sample's `prompt`, `target`, `references`, `answers`, `answer_weights`, `choices` and
        `messages`, those that the record has.
    """
    said = [key for key in (*_SAID, _LABEL) if record.get(key) is not None]
    if not said:
        raise fail(_nothing_said(record))
    given = [key for key in said if key != _LABEL] or said
    if len(given) > 1:
        raise fail(f"has both '{given[0]}' and '{given[1]}'; keep one")
    fields = _asked(record, fail)
    if given[0] == "messages":
        if "prompt" in fields or "choices" in fields:
            raise fail("has 'messages' and a question beside them; ask it in the last message")
        return fields | _messages(record["messages"], fail)
    if given[0].startswith("caption"):
        captions = text_list(record, given[0], fail)
        target = captions[0] if len(captions) == 1 else None
        return fields | {"target": target, "references": captions}
    return fields | _answers(record, given[0], fields.get("choices"), fail)


def _nothing_said(record: Fields) -> str:
    """What a record without an answer lacks, and which of its keys was perhaps meant to be one."""
    *known, last = map(repr, (*_SAID, _LABEL))
    keys = ", ".join(map(repr, record)) or "nothing"
    unread = [key for key in record if key not in KEYS]
    hints = [(key, did_you_mean(key, (*_SAID, _LABEL))) for key in unread]
    hint = next((f"; for '{key}', {meant}" for key, meant in hints if meant), "")
    return f"says nothing to learn: it needs {', '.join(known)} or {last}, and has {keys}{hint}"


def media_parts(messages: list[Fields]) -> list[Fields]:
    """The media parts of all messages, in order."""
    contents = [message["content"] for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [part for part in parts if part["type"] in MODALITIES]


def as_text(value: Any, key: str, fail: Fail) -> str:
    """The value, if it is text."""
    if not isinstance(value, str):
        raise fail(f"'{key}' must be text, not {kind(value)}")
    return value


def text_list(record: Fields, key: str, fail: Fail) -> list[str]:
    """One text, or a list of texts where the key is a plural; none may be empty."""
    value = record[key]
    if not key.endswith("s"):
        value = [value]
    elif not isinstance(value, list):
        raise fail(f"'{key}' must be a list, not {kind(value)}")
    texts = [as_text(text, key, fail) for text in value]
    if not texts or not all(text.strip() for text in texts):
        raise fail(f"has an empty {key.removesuffix('s')}")
    return texts


def kind(value: Any) -> str:
    """How JSON calls the type of a value."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


def _asked(record: Fields, fail: Fail) -> Fields:
    fields: Fields = {}
    given = [key for key in ("prompt", "question") if record.get(key) is not None]
    if len(given) > 1:
        raise fail("has both 'prompt' and 'question', which are the same; keep one")
    if given:
        fields["prompt"] = as_text(record[given[0]], given[0], fail)
    if record.get("choices") is not None:
        choices = text_list(record, "choices", fail)
        if len(set(choices)) != len(choices) or len(choices) < 2:
            raise fail("needs at least two 'choices', all different")
        fields["choices"] = choices
    return fields


def _answers(record: Fields, key: str, choices: list[str] | None, fail: Fail) -> Fields:
    value, weights = record[key], None
    if choices and isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(choices):
            raise fail(f"'{key}' is {value}, but there are {len(choices)} choices, from 0")
        answers = [choices[value]]
    elif key == "answers" and isinstance(value, dict):
        answers, weights = list(value), list(value.values())
        if not answers or not all(_is_positive(weight) for weight in weights):
            raise fail("'answers' must give every answer a number above 0")
    else:
        answers = text_list(record, key, fail)
    if choices and not set(answers) <= set(choices):
        wrong = next(answer for answer in answers if answer not in choices)
        raise fail(f"has the answer '{wrong}', which is not among its choices")
    fields: Fields = {"answers": answers, "references": list(dict.fromkeys(answers))}
    return fields if weights is None else fields | {"answer_weights": [float(w) for w in weights]}


def _is_positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


def _messages(value: Any, fail: Fail) -> Fields:
    if not isinstance(value, list) or not value:
        raise fail("'messages' must be a list of messages")
    for message in value:
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise fail("'messages' must hold objects with 'role' and 'content'")
        if message["role"] not in ROLES:
            raise fail(f"has a message of role {message['role']!r}; known: {', '.join(ROLES)}")
        _check_content(message["content"], fail)
    last = value[-1]
    said = [_plain(last["content"])] if last["role"] == "assistant" else []
    return {"messages": value, "references": said}


def _check_content(content: Any, fail: Fail) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise fail(f"'content' must be text or a list of parts, not {kind(content)}")
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in ("text", *MODALITIES):
            known = ", ".join(("text", *MODALITIES))
            raise fail(f"a part of 'content' must be an object whose 'type' is one of {known}")
        if part["type"] == "text":
            as_text(part.get("text"), "text", fail)


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")
