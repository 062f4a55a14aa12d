"""Results as text for people."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

ROWS = {
    "metrics": "with media",
    "blind": "media removed",
    "blind_swapped": "media swapped",
    "blind_trained": "trained without media",
}


@dataclass
class Report:
    """What a dry run found.

    Args:
        name: of the recipe.
        trainable: sizes of what is trained, by name.
        kinds: the same summed up by kind.
        trainable_parameters: their sum.
        total_parameters: with all that is frozen; None where an encoder cannot be counted.
        joints: the shapes where one module hands over to another.
        previews: samples with their label mask.
        departures: from the published methods, one sentence each.
        has_published_method: whether any fusion compares itself with one.
        memory_bytes: of weights, gradients and optimiser, without encoders.
        notes: what is worth knowing and no mistake.
        obstacles: why training will not start here, a few words each; empty where it will.
    """

    name: str
    trainable: dict[str, int]
    kinds: dict[str, int]
    trainable_parameters: int
    total_parameters: int | None
    joints: list[tuple[str, list[int]]]
    previews: list[str]
    departures: list[str]
    has_published_method: bool
    memory_bytes: dict[str, int]
    notes: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """`ok`, and what stands in the way of training here, if anything does."""
        if not self.obstacles:
            return "ok"
        more = f" (and {len(self.obstacles) - 1} more)" if len(self.obstacles) > 1 else ""
        return f"ok, but training will not start: {self.obstacles[0]}{more}"

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [self.name, "", *self._trainable_lines(), "", "joints"]
        joints = dict.fromkeys((re.sub(r"\[\d+\]", "[*]", what), str(x)) for what, x in self.joints)
        wide = max((len(what) for what, _ in joints), default=0)
        lines += [f"  {what:<{wide}}  {shape[1:-1].replace(', ', ' x ')}" for what, shape in joints]
        lines += ["", "samples ([…] is what the LM learns to say)"]
        lines += [f"  {preview}" for preview in self.previews]
        if self.departures or self.has_published_method:
            lines += ["", "departures:", *(f"  - {text}" for text in self.departures or ["none"])]
        if self.notes:
            lines += ["", *(f"note: {note}" for note in self.notes)]
        return "\n".join(lines)

    def static_memory(self) -> str:
        """What stays in memory, for where a step cannot be estimated."""
        rows = [f"  {part}: {size / 2**20:,.1f} MiB" for part, size in self.memory_bytes.items()]
        return "\n".join(["memory (encoders and activations come on top)", *rows])

    def _trainable_lines(self) -> list[str]:
        share = ""
        if self.total_parameters:
            part = self.trainable_parameters / self.total_parameters
            share = f"  ({part:.3%} of {self.total_parameters:,})"
        kinds = [(kind, f"{count:>15,}") for kind, count in self.kinds.items()]
        kinds.append(("total", f"{self.trainable_parameters:>15,}{share}"))
        tensors = tensor_rows(self.trainable)
        width = max(len(what) for what, _ in kinds + tensors)

        def lines(rows: Sequence[tuple[str, str]]) -> list[str]:
            return [f"  {what:<{width}}  {count}" for what, count in rows]

        return ["trainable parameters", *lines(kinds), "", "the same by tensor", *lines(tensors)]


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


def tensor_rows(parameters: Mapping[str, int]) -> list[tuple[str, str]]:
    """What trains by name, the like parts of all layers in one row.

    Args:
        parameters: sizes by name.

    Example:
        >>> tensor_rows({"gate.0.x": 1, "gate.1.x": 1})
        [('gate.*.x', '              2  (2 x 1)')]
    """
    rows = []
    sizes: dict[str, Counter[int]] = defaultdict(Counter)
    for name, size in parameters.items():
        sizes[re.sub(r"\.\d+(?=\.|$)", ".*", name)][size] += 1
    for name, found in sizes.items():
        terms = " + ".join(f"{times} x {size:,}" for size, times in found.items())
        count = sum(size * times for size, times in found.items())
        repeated = f"  ({terms})" if found.total() > 1 else ""
        rows.append((name, f"{count:>15,}{repeated}"))
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
