"""The table of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from mmadapt.bench import Result
from mmadapt.compare.recipes import Entry
from mmadapt.report import aligned


def table(entries: Sequence[Entry], costs: Sequence[Result]) -> str:
    """One line for each recipe."""
    blind = list(entries[0].blind)
    lines = [["recipe", entries[0].metric, "95 % interval", *blind, "trainable", "lr", "train s"]]
    lines[0] += ["peak MiB", *(["step s", "tokens/s"] if costs else [])]
    for number, entry in enumerate(entries):
        quality = entry.quality
        line = [
            entry.name,
            f"{mean(entry.values):.3f}",
            f"[{quality.low:.3f}, {quality.high:.3f}]",
            *(f"{entry.blind.get(row, float('nan')):.3f}" for row in blind),
            f"{entry.trainable_parameters:,}",
            f"{entry.learning_rate:g}",
            f"{entry.seconds:.1f}",
            f"{entry.peak_memory_bytes / 2**20:,.0f}",
        ]
        if costs:
            cost = costs[number]
            line += [f"{cost.step_seconds:.3f}", f"{cost.decode_tokens_per_second[1]:.1f}"]
        lines.append(line)
    return aligned(lines)
