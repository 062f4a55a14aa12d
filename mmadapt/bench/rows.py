"""The rows of a benchmark."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from mmadapt.bench.clock import STAGES
from mmadapt.report import aligned

_NO_MEDIA = (
    "decode is 0, and encoder too unless a fusion changes it: features stand ready, as from the "
    "cache;\nwhat decoding costs, and how long training waits for it: mmadapt bench RECIPE --data"
)


@dataclass
class Row:
    """Raw measurements of one subject, a value for each round."""

    name: str
    adapter_bytes: int = 0
    peak_bytes: int | None = None
    steps: list[float] = field(default_factory=list)
    first_token: dict[int, list[float]] = field(default_factory=dict)
    tokens_per_second: dict[int, list[float]] = field(default_factory=dict)
    stages: list[dict[str, float]] = field(default_factory=list)


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
        shares: of a training step's seconds, forward and backward: `decode` and `encoder` (0 where
            features come from the cache), `fusion` (projections, what it does at the LM's layers,
            optimiser), `lm` (LoRA included), `head` (logits and loss).
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


def summarize(rows: list[Row], batch_size: int) -> list[Result]:
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
            _shares(row.stages),
        )
        for row in rows
    ]


def _median(values: list[float]) -> float | None:
    return median(values) if values else None


def _ratio(values: list[float], others: list[float]) -> float | None:
    pairs = list(zip(values, others, strict=False))
    return median(one / other for one, other in pairs) if pairs else None


def _shares(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Of all rounds together, so that they add up to 1."""
    whole = sum(sum(seconds.values()) for seconds in rounds)
    if not whole:
        return {}
    return {stage: sum(seconds[stage] for seconds in rounds) / whole for stage in STAGES}


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
    return "\n".join([aligned(lines), *_share_lines(results)])


def _share_lines(results: list[Result]) -> list[str]:
    """A second table: what the steps are spent on."""
    known = [result for result in results if result.shares]
    if not known:
        return []
    lines = [["share of the step", *STAGES]]
    lines += [[r.name, *(f"{r.shares[stage]:.1%}" for stage in STAGES)] for r in known]
    return ["", aligned(lines), _NO_MEDIA]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
