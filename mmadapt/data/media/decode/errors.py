"""The one error that a decoder raises on purpose."""

from __future__ import annotations

NO_SOUND_TRACK = "it has no sound track"


class Unreadable(Exception):
    """A file that cannot be read as what was asked.

    Args:
        reason: Why, in a few words, without the file's name.
        advice: What to do next, one sentence; may be empty.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        self.reason, self.advice = reason, advice
        super().__init__(reason, advice)


class CutShort(Unreadable):
    """A file that is known to be incomplete, whatever another decoder makes of it."""
