"""What takes the place of a sample that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from mmadapt.data.items import Failed, Item
from mmadapt.errors import DataError

MAX_SUBSTITUTES = 32


def first_usable(results: Iterable[Item | Failed], substitute: bool) -> Item | Failed:
    """The first sample that can be used, with those that it stands in for.

    Args:
        results: a sample and those after it, prepared as they are asked for.
        substitute: whether another one may take its place.

    Returns:
        That sample; a `Failed` where it is wrong, where nothing may take its place, or where
        `MAX_SUBSTITUTES` in a row cannot be used.
    """
    failed: list[Failed] = []
    for result in islice(results, MAX_SUBSTITUTES if substitute else 1):
        if isinstance(result, Item):
            return replace(result, failed=(*failed, *result.failed)) if failed else result
        failed.append(result)
        if result.kind == "wrong":
            return result
    last = failed[-1]
    if not substitute:
        return last
    reason = f"{len(failed)} samples in a row cannot be used; the last: {last.error}"
    error = DataError("data", None, reason)
    return replace(last, error=error, kind="wrong", others=tuple(failed))
