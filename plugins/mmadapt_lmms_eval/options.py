"""A task's `generation_kwargs` as options of transformers' `generate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import GenerationConfig

MAX_NEW_TOKENS = 128  # unless the task says otherwise


def generation_options(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What `generate` takes of a task's `generation_kwargs`; a temperature of 0 is greedy.

    Example:
        >>> generation_options({"temperature": 0, "max_new_tokens": 8, "until": ["x"]})
        {'max_new_tokens': 8, 'do_sample': False}
    """
    known = vars(GenerationConfig())
    options = {key: value for key, value in kwargs.items() if key in known and value is not None}
    if not options.get("temperature") or options.get("do_sample") is False:
        for key in ("temperature", "top_p", "top_k"):
            options.pop(key, None)
        options["do_sample"] = False
    else:
        options["do_sample"] = True
    if "max_length" not in options:
        options.setdefault("max_new_tokens", MAX_NEW_TOKENS)
    return options


def cut(text: str, until: str | Sequence[str] | None) -> str:
    """A text up to the first of the texts that end it.

    Example:
        >>> cut("red.\\n\\nblue", ["\\n\\n"])
        'red.'
    """
    for stop in [until] if isinstance(until, str) else until or ():
        if stop:
            text = text.split(stop)[0]
    return text
