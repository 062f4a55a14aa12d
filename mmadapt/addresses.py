"""Addresses where a file is expected: nothing that data name is ever fetched."""

from __future__ import annotations

import re

FETCH_FIRST = "nothing is fetched from addresses in data: download it and name the file"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|data:[\w/+.-]*[;,]", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Whether a text is a URL rather than a path.

    Example:
        >>> is_address("https://example.org/cat.png"), is_address("C:/cat.png")
        (True, False)
    """
    return _ADDRESS.match(text) is not None
