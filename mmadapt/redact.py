"""Secrets in texts: recognised, so that no recipe keeps them and no message shows them."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}")
_LOGIN = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")


def has_secret(text: str) -> bool:
    """Whether a text holds a token of the hub, or an address with a password.

    Example:
        >>> has_secret("https://me:pass@example.org/model"), has_secret("https://example.org")
        (True, False)
    """
    return bool(_TOKEN.search(text) or _LOGIN.search(text))


def redacted(text: str) -> str:
    """The text with `***` for its secrets.

    Example:
        >>> redacted("no access to https://me:pass@example.org/model")
        'no access to https://***@example.org/model'
    """
    return _LOGIN.sub("***", _TOKEN.sub("***", text))
