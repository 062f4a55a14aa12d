"""Partners that say something else, drawn at random in nearly linear time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np


def pair(
    indices: Sequence[int],
    groups: Sequence[Hashable],
    says: Sequence[frozenset[str]],
    partner: list[int],
    rng: np.random.Generator,
    others: Sequence[int] | None = None,
) -> list[int]:
    """Gives indices a partner of their own group that says something else.

    A partner is used a second time only where no unused one fits.

    Args:
        indices: who needs one, in a random order.
        groups: of every sample.
        says: of every sample.
        partner: filled in.
        rng: of the draw.
        others: who may be a partner, in a random order; default: the indices themselves.

    Returns:
        Those that have none.
    """
    members: dict[Hashable, list[int]] = {}
    for index in indices if others is None else others:
        members.setdefault(groups[index], []).append(index)
    unused = {group: Pool(same, says) for group, same in members.items()}
    everyone = {group: Pool(same, says) for group, same in members.items()}
    without = []
    for index in indices:
        group = groups[index]
        found = unused[group].draw(says[index], rng)
        if found is not None:
            unused[group].remove(found)
        else:
            found = everyone[group].draw(says[index], rng)
        if found is None:
            without.append(index)
        else:
            partner[index] = found
    return without


class Pool:
    """Samples to draw from, in a random order.

    A draw begins at a random place and takes the first sample that fits. Where a share f of them
    fits, that takes 1/f looks on average; as samples are removed, the looks of all n draws sum to
    about n log n. That nothing fits is known without looking where one text is common to all, and
    is looked for once for each set of texts otherwise.

    Args:
        members: the samples, in a random order.
        says: of every sample, the texts that a partner must not share.
    """

    def __init__(self, members: Iterable[int], says: Sequence[frozenset[str]]) -> None:
        self.members, self.says = list(members), says
        self.place = {index: place for place, index in enumerate(self.members)}
        self.holders = Counter(text for index in self.members for text in says[index])
        self.hopeless: set[frozenset[str]] = set()

    def draw(self, texts: frozenset[str], rng: np.random.Generator) -> int | None:
        """A sample that says none of `texts`, or None where there is none."""
        count = len(self.members)
        if not count or texts in self.hopeless:
            return None
        if all(self.holders[text] < count for text in texts):
            start = int(rng.integers(count))
            for step in range(count):
                index = self.members[(start + step) % count]
                if self.says[index].isdisjoint(texts):
                    return index
        self.hopeless.add(texts)  # for good: samples are only ever removed
        return None

    def remove(self, index: int) -> None:
        """Takes a sample out."""
        place, last = self.place.pop(index), self.members.pop()
        if last != index:
            self.members[place] = last
            self.place[last] = place
        self.holders.subtract(self.says[index])
