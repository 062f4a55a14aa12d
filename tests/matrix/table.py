"""Results of the matrix as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import transformers

from tests.matrix.parts import ENCODERS, FAMILIES, FUSIONS, INVARIANTS

_INTRO = """\
# What holds for which models

Every fusion on every family of language models, and every encoder under every fusion, each on tiny
random models under the invariants of `mmadapt.testing.FusionContract`. Written by

<!-- not run: takes many minutes; pytest runs a part of it -->
```bash
python tests/matrix/run.py --output docs/matrix.md
```

| invariant | what is promised |
|---|---|
| gradients | the whole adapter learns, and nothing else: frozen weights keep their bits |
| loss | the loss at labelled positions is the LM's own |
| checkpointing | layers are recomputed, and gradients stay the same |
| media | other media give other logits |
| cache | with the LM's cache, steps and candidates score as in a full forward |
| beams | beams with and without cache, in a batch and alone, are equal |
| padding | padding on either side changes no logit |
| absent media | samples without media are as in a batch without any, and leave the others alone |
| padded items | what stands in a padded item is never read |
| detach | after `detach`, and in direct calls, the LM is bit-equal to the base |
| save | a saved and loaded adapter is bit-equal; options survive as JSON |
| bfloat16 | beside an LM in bfloat16, and under autocast, it trains and stays close |
| meta | a forward without values has the right shapes |
{others}
A number counts the invariants that hold, of {count} (one less under a real encoder: `meta` concerns
fusions); a letter points to a note below.
"""


@dataclass
class Result:
    """What was found in one cell."""

    fusion: str
    encoder: str
    family: str
    refused: str = ""
    declared: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def exceptions(self) -> dict[str, str]:
        """Invariants that do not hold, as declared."""
        return {name: why for name, why in self.declared.items() if why}

    def line(self) -> str:
        """One line for the terminal."""
        name = f"{self.fusion} | {self.encoder} | {self.family}"
        if self.refused:
            return f"{name}: refused ({self.refused})"
        asked = len(self.declared) + len(self.failed)
        found = f"{len(self.declared) - len(self.exceptions)} of {asked} hold"
        return f"{name}: {found}" + "".join(f"; {n}: {why}" for n, why in self.failed.items())


def page(results: Sequence[Result], seconds: float) -> str:
    """The whole page."""
    notes: dict[str, str] = {}
    found = {(r.fusion, r.encoder, r.family): r for r in results}
    others = "| others | whatever else the contract asks |\n" if "others" in INVARIANTS else ""
    intro = _INTRO.format(count=len(INVARIANTS), others=others)
    lines = [intro, "## Fusions on language models", ""]
    lines += _table(
        "fusion",
        FAMILIES,
        {f: [found.get((f, "tiny", family)) for family in FAMILIES] for f in FUSIONS},
        notes,
    )
    lines += ["", "## Encoders under fusions (on Llama)", ""]
    rows = {e: [found.get((f, e, "llama")) for f in FUSIONS] for e in ENCODERS if e != "tiny"}
    lines += _table("encoder", tuple(FUSIONS), rows, notes)
    lines += ["", *(f"- {letter}: {note}" for note, letter in notes.items())]
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    lines += ["", f"{len(results)} cells, {seconds:.0f} s on one CPU core; {versions}, float32."]
    return "\n".join(lines) + "\n"


def _table(
    corner: str,
    columns: Sequence[str],
    rows: dict[str, list[Result | None]],
    notes: dict[str, str],
) -> list[str]:
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, results in rows.items():
        cells = [_cell(result, notes) for result in results]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _cell(result: Result | None, notes: dict[str, str]) -> str:
    if result is None:
        return "-"
    if result.refused:
        return f"no ({_letter(f'refused: {result.refused}', notes)})"
    by_reason: dict[str, list[str]] = {}
    failed = {name: f"FAILS: {why}" for name, why in result.failed.items()}
    for name, why in {**result.exceptions, **failed}.items():
        by_reason.setdefault(why, []).append(name)
    letters = [_letter(f"{', '.join(names)}: {why}", notes) for why, names in by_reason.items()]
    held = len(result.declared) - len(result.exceptions)
    return f"{held}" + (f" ({', '.join(letters)})" if letters else "")


def _letter(note: str, notes: dict[str, str]) -> str:
    return notes.setdefault(note, chr(ord("a") + len(notes)))
