"""Where two records of settings differ."""

from __future__ import annotations

from typing import Any


def differences(then: Any, now: Any, whole: str, key: str = "") -> list[str]:
    """Dotted keys at which two records differ.

    Args:
        then: one record.
        now: the other.
        whole: what is named where the records differ as a whole.
        key: where they stand.

    Example:
        >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}, "recipe")
        ['a.b']
    """
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            found
            for name in dict.fromkeys([*then, *now])
            for found in differences(
                then.get(name), now.get(name), whole, f"{key}.{name}".lstrip(".")
            )
        ]
    return [] if then == now else [key or whole]
