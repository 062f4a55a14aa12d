"""What a file or a sample gave once, kept in memory while a budget lasts."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmadapt.data.features.reader import FeatureReader

GIBIBYTE = 1024**3


class MemoryCache:
    """Keeps values up to a number of bytes; once full it adds nothing and drops nothing.

    In shuffled epochs every value is needed equally often, so dropping one to keep another gains
    nothing. Only results that no random choice went into may be put in.

    Args:
        budget: bytes it may hold; 0 keeps nothing.
        features: finds the features that are kept on disk, where a recipe wants that.
    """

    def __init__(self, budget: int = GIBIBYTE, features: FeatureReader | None = None) -> None:
        self.budget, self.used = budget, 0
        self.features = features
        self._values: dict[Hashable, Any] = {}

    def get(self, key: Hashable) -> Any | None:
        """The value of a key, or None."""
        return self._values.get(key)

    def put(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keeps a value of `nbytes` bytes if it still fits."""
        if key not in self._values and self.used + nbytes <= self.budget:
            self._values[key] = value
            self.used += nbytes
