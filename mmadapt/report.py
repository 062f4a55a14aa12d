"""Results as text for people."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

ROWS = {
    "metrics": "with media",
    "blind": "media removed",
    "blind_swapped": "media swapped",
    "blind_trained": "trained without media",
}


def score_table(result: Mapping[str, Any]) -> str:
    """One line per row of scores, one column per metric.

    Example:
        >>> print(score_table({"metrics": {"cider": 9.5}, "blind": {"cider": 0.25}}))
                        cider
        with media      9.500
        media removed   0.250
    """
    rows = [(title, result[key]) for key, title in ROWS.items() if result.get(key)]
    names = list(dict.fromkeys(name for _, scores in rows for name in scores))
    width = max((len(title) for title, _ in rows), default=0)
    lines = [" " * width + "".join(f"  {name:>6}" for name in names)]
    for title, scores in rows:
        cells = [f"{scores[name]:.3f}" if name in scores else "-" for name in names]
        pairs = zip(names, cells, strict=True)
        lines.append(f"{title:<{width}}" + "".join(f"  {c:>{max(6, len(n))}}" for n, c in pairs))
    return "\n".join(lines)


def example_lines(predictions: Sequence[Mapping[str, Any]], count: int) -> str:
    """A few answers beside their references, evenly spread over the predictions."""
    count = min(count, len(predictions))
    chosen = [predictions[i * len(predictions) // count] for i in range(count)]
    lines = []
    for prediction in chosen:
        reference = next(iter(prediction["references"]), "")
        more = len(prediction["references"]) - 1
        extra = f" (and {more} more)" if more > 0 else ""
        lines += [f"  answer     {prediction['answer']}", f"  reference  {reference}{extra}", ""]
    return "\n".join(lines).rstrip()


def trainable_rows(
    kinds: Mapping[str, int], parameters: Mapping[str, int]
) -> list[tuple[str, str]]:
    """What trains, by kind, then by name, the like parts of all layers in one row.

    Args:
        kinds: parameters of each kind.
        parameters: sizes by name.

    Example:
        >>> trainable_rows({"mine: gates": 2}, {"gate.0.x": 1, "gate.1.x": 1})
        [('mine: gates', '              2'), ('  gate.*.x', '              2  (2 x 1)')]
    """
    rows = [(kind, f"{count:>15,}") for kind, count in kinds.items()]
    sizes: dict[str, Counter[int]] = defaultdict(Counter)
    for name, size in parameters.items():
        sizes[re.sub(r"\.\d+(?=\.|$)", ".*", name)][size] += 1
    for name, found in sizes.items():
        terms = " + ".join(f"{times} x {size:,}" for size, times in found.items())
        count = sum(size * times for size, times in found.items())
        repeated = f"  ({terms})" if found.total() > 1 else ""
        rows.append((f"  {name}", f"{count:>15,}{repeated}"))
    return rows


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as columns; the first is aligned to the left, the others to the right.

    Example:
        >>> print(aligned([["a", "bc"], ["de", "f"]]))
        a   bc
        de   f
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    )
