"""A few cells in which every two values meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product

Row = tuple[str, ...]
Pair = tuple[int, str, int, str]


def pairs_of(row: Row) -> set[Pair]:
    """The pairs of values, each with its factor, that meet in a row."""
    return {(i, row[i], j, row[j]) for i, j in combinations(range(len(row)), 2)}


def all_rows(factors: Sequence[Sequence[str]], possible: Callable[[Row], bool]) -> Iterator[Row]:
    """Every combination that is possible."""
    return (row for row in product(*factors) if possible(row))


def covering_rows(
    factors: Sequence[Sequence[str]], possible: Callable[[Row], bool] = lambda row: True
) -> list[Row]:
    """Rows in which each two values of different factors meet at least once, if they can.

    Greedy: the largest two factors give a row for each of their pairs; the rest of a row is what
    makes most new pairs meet. Few rows, not the fewest; the same every time.

    Args:
        factors: the values of each.
        possible: whether a row may be.
    """
    missing = set().union(*(pairs_of(row) for row in all_rows(factors, possible)))
    order = sorted(range(len(factors)), key=lambda i: -len(factors[i]))
    first, second = sorted(order[:2])
    rows = []
    while missing:
        before = len(missing)
        for a, b in product(factors[first], factors[second]):
            fixed = [
                [a] if i == first else [b] if i == second else f for i, f in enumerate(factors)
            ]
            best = max(
                all_rows(fixed, possible),
                key=lambda row: len(pairs_of(row) & missing),
                default=None,
            )
            if best is not None and pairs_of(best) & missing:
                missing -= pairs_of(best)
                rows.append(best)
        assert len(missing) < before
    return rows
