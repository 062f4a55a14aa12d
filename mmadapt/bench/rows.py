"""The rows of a benchmark."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from mmadapt.report import aligned


@dataclass
class Row:
    """Raw measurements of one subject, a value for each round."""

    name: str
    adapter_bytes: int = 0
    peak_bytes: int | None = None
    steps: list[float] = field(default_factory=list)
    first_token: dict[int, list[float]] = field(default_factory=dict)
    tokens_per_second: dict[int, list[float]] = field(default_factory=dict)


@dataclass
class Result:
    """Medians of one row, and ratios to the floors of the same rounds.

    Args:
        name: of the row.
        step_seconds: of a training step.
        ratio_to_text_only: to the LM alone with logits everywhere.
        ratio_to_labelled: to the LM alone with logits at labelled positions.
        samples_per_second: in training.
        peak_bytes: most memory in a training step, base weights included.
        adapter_bytes: what trains.
        first_token_seconds: by batch size, from the call of `generate` on.
        decode_tokens_per_second: by batch size, after the first token.
        decode_ratio: by batch size, to the LM's own text-only `generate`.
        shares: of the step: head (logits and loss), lm, and fusion (what it adds, an encoder that
            it changes included).
    """

    name: str
    step_seconds: float | None
    ratio_to_text_only: float | None
    ratio_to_labelled: float | None
    samples_per_second: float | None
    peak_bytes: int | None
    adapter_bytes: int
    first_token_seconds: dict[int, float]
    decode_tokens_per_second: dict[int, float]
    decode_ratio: dict[int, float]
    shares: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return asdict(self)


def summarize(rows: list[Row], batch_size: int, head_seconds: float) -> list[Result]:
    """Medians over the rounds; a ratio is the median of the rounds' own ratios."""
    by_name = {row.name: row for row in rows}
    all_floor, floor = by_name.get("text-only"), by_name.get("text-only-labelled")
    plain = all_floor or floor
    return [
        Result(
            row.name,
            _median(row.steps),
            _ratio(row.steps, all_floor.steps if all_floor else []),
            _ratio(row.steps, floor.steps if floor else []),
            batch_size / median(row.steps) if row.steps else None,
            row.peak_bytes,
            row.adapter_bytes,
            {size: median(times) for size, times in row.first_token.items()},
            {size: median(rates) for size, rates in row.tokens_per_second.items()},
            {
                size: ratio
                for size, rates in row.tokens_per_second.items()
                if plain and (ratio := _ratio(rates, plain.tokens_per_second.get(size, [])))
            },
            _shares(row, floor, head_seconds),
        )
        for row in rows
    ]


def _median(values: list[float]) -> float | None:
    return median(values) if values else None


def _ratio(values: list[float], others: list[float]) -> float | None:
    pairs = list(zip(values, others, strict=False))
    return median(one / other for one, other in pairs) if pairs else None


def _shares(row: Row, floor: Row | None, head_seconds: float) -> dict[str, float]:
    """What a step is spent on; a fusion that cuts the backward pass short leaves the LM less."""
    if not row.steps or floor is None or not floor.steps:
        return {}
    whole = median(row.steps)
    lm = max(0.0, min(median(floor.steps), whole) - head_seconds)
    parts = {"head": head_seconds, "lm": lm, "fusion": max(0.0, whole - head_seconds - lm)}
    return {name: value / whole for name, value in parts.items()}


def table(results: list[Result]) -> str:
    """The rows as text."""
    sizes = sorted({size for result in results for size in result.decode_tokens_per_second})
    titles = ["row", "step s", "/text-only", "/labelled", "samples/s", "peak MiB", "adapter MiB"]
    titles += [f"{what} b={size}" for size in sizes for what in ("first s", "tokens/s", "ratio")]
    lines = [titles]
    for result in results:
        line = [
            result.name,
            _number(result.step_seconds, 4),
            _number(result.ratio_to_text_only, 3),
            _number(result.ratio_to_labelled, 3),
            _number(result.samples_per_second, 2),
            _number(result.peak_bytes and result.peak_bytes / 2**20, 0),
            _number(result.adapter_bytes / 2**20, 2),
        ]
        for size in sizes:
            line += [
                _number(result.first_token_seconds.get(size), 4),
                _number(result.decode_tokens_per_second.get(size), 1),
                _number(result.decode_ratio.get(size), 3),
            ]
        lines.append(line)
    return aligned(lines)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
