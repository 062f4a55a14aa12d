"""How the cost of a training step grows with the number of media items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmadapt.bench.rows import Result
from mmadapt.report import aligned

FEWEST = 4  # counts that a curve with three unknowns can be told from
NOTICED = 0.1  # of the largest step: a quadratic term below it is not told from noise


@dataclass(frozen=True)
class Curve:
    """A quantity over the number of items n: a line, and a parabola, fitted by least squares.

    Residuals count relative to the values, so that short samples have their say.

    Args:
        slope: of the line, per item.
        first_slope: between the first count and the middle one.
        last_slope: between the last two counts.
        quadratic: what the parabola's n^2 term is of the value at the last count; None below
            four counts.
    """

    slope: float
    first_slope: float
    last_slope: float
    quadratic: float | None

    @property
    def kind(self) -> str:
        """In a word."""
        if self.quadratic is None:
            return "-"
        if self.quadratic >= NOTICED:
            return "quadratic"
        return "linear" if self.quadratic > -NOTICED else "less than linear"


@dataclass(frozen=True)
class Growth:
    """How one row grows.

    Args:
        name: of the row.
        items: the counts.
        step_seconds: of a training step at each.
        peak_bytes: at each; None where the platform does not tell.
        seconds: per item.
        bytes: per item.
    """

    name: str
    items: list[int]
    step_seconds: list[float]
    peak_bytes: list[int | None]
    seconds: Curve
    bytes: Curve | None

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return asdict(self) | {"kind": self.seconds.kind}


def fitted(items: Sequence[int], values: Sequence[float]) -> Curve:
    """Fits a curve to at least two counts."""
    n, y = np.asarray(items, float), np.asarray(values, float)
    weights = 1 / np.maximum(y, np.finfo(float).tiny)
    slope = np.polyfit(n, y, 1, w=weights)[0]
    middle = len(n) // 2
    quadratic = None
    if len(n) >= FEWEST:
        quadratic = float(np.polyfit(n, y, 2, w=weights)[0] * n[-1] ** 2 / y[-1])
    return Curve(
        float(slope),
        float((y[middle] - y[0]) / (n[middle] - n[0])),
        float((y[-1] - y[-2]) / (n[-1] - n[-2])),
        quadratic,
    )


def growth(by_items: Mapping[int, Sequence[Result]]) -> list[Growth]:
    """Of every row that was trained at two counts or more."""
    items = sorted(by_items)
    if len(items) < 2:
        return []
    result = []
    for same in zip(*(by_items[count] for count in items), strict=True):
        times = [row.step_seconds for row in same if row.step_seconds is not None]
        peaks = [row.peak_bytes for row in same]
        known = [peak for peak in peaks if peak is not None]
        if len(times) == len(items):
            grown = fitted(items, known) if len(known) == len(items) else None
            result.append(Growth(same[0].name, items, times, peaks, fitted(items, times), grown))
    return result


def growth_table(found: Sequence[Growth]) -> str:
    """The rows as text: step seconds and peak memory at every count, then how they grow."""
    if not found:
        return ""
    counts = [f"n={count}" for count in found[0].items]
    titles = ["step s", *counts, "ms/item", "at first", "at last", "n^2 part", "growth"]
    lines = [titles]
    lines += [
        [g.name, *(f"{t:.3f}" for t in g.step_seconds), *_cells(g.seconds, 1e3)] for g in found
    ]
    text = aligned(lines)
    known = [g for g in found if g.bytes is not None]
    if known:
        lines = [["peak MiB", *counts, "MiB/item", *titles[-4:]]]
        for g in known:
            assert g.bytes is not None
            peaks = [f"{(peak or 0) / 2**20:,.0f}" for peak in g.peak_bytes]
            lines.append([g.name, *peaks, *_cells(g.bytes, 1 / 2**20)])
        text += "\n\n" + aligned(lines)
    return text + (
        "\nper item: least squares over all counts; at first, at last: between the first and the "
        "middle count, and the last two;\nn^2 part: what the squared term of a fitted parabola is "
        f"of the largest value ({NOTICED:.0%} and more is called quadratic)"
    )


def _cells(curve: Curve, unit: float) -> list[str]:
    slopes = (curve.slope, curve.first_slope, curve.last_slope)
    part = "-" if curve.quadratic is None else f"{curve.quadratic:.1%}"
    return [*(f"{slope * unit:.3f}" for slope in slopes), part, curve.kind]
