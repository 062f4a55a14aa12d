"""Predicted and measured cost of a training step, side by side.

    python -m tests.cost.table [RECIPE... KEY=VALUE...] [--items N] [--rounds N]

For the recipes (default: those of `recipes/bench/` whose encoder stays frozen) and the LM alone:
GFLOP by the formulas of `tests/cost/flops.py` and as torch's `FlopCounterMode` counts them on one
step, then the time that the formulas predict, as a multiple of `text-only-labelled`, beside the
measured one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmadapt.bench import Options, Workload, bench
from mmadapt.bench.run import subjects_of
from mmadapt.bench.subjects import Fused, Subject
from mmadapt.recipe import ResolvedRecipe, load_and_resolve
from mmadapt.report import aligned
from tests.cost import flops

RECIPES = Path(__file__).parents[2] / "recipes" / "bench"
DEFAULT = [str(RECIPES / f"{name}.yaml") for name in ("adem", "epalm", "evlm", "prefix")]
FLOORS = ("text-only", "text-only-labelled")


def predicted(subject: Subject, kind: str) -> int:
    """FLOPs of a step by the formulas."""
    workload, config = subject.workload, subject.lm.config
    if not isinstance(subject, Fused):
        z = flops.Sizes.of(config, workload, flops.NO_MEDIA)
        return flops.text_only(z) if subject.name == FLOORS[0] else flops.text_only_labelled(z)
    (info,) = subject.infos.values()
    z = flops.Sizes.of(config, workload, info)
    return flops.FORMULAS[kind](z, subject.fusions[0])


def counted(subject: Subject) -> int:
    """FLOPs of a step as torch counts them; attention as plain products, which it knows."""
    counter = FlopCounterMode(display=False)
    with subject.training() as step, sdpa_kernel(SDPBackend.MATH), counter:
        step()
    return counter.get_total_flops()


def compare(recipes: Sequence[ResolvedRecipe], options: Options) -> list[list[Any]]:
    """Name, predicted and counted FLOPs of each row."""
    subjects = subjects_of(recipes, options)
    kinds = ["", "", *(str(recipe.recipe.fusions[0].use) for recipe in recipes)]
    return [
        [subject.name, predicted(subject, kind), counted(subject)]
        for subject, kind in zip(subjects, kinds, strict=True)
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Predicted and measured cost of a step.")
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--items", type=int)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    changes = [word for word in given.recipes if "=" in word]
    files = [word for word in given.recipes if "=" not in word] or DEFAULT
    recipes = [load_and_resolve(file, changes) for file in files]
    options = Options(
        Workload(batch_size=given.batch_size, items=given.items),
        against=FLOORS,
        rounds=given.rounds,
        decode_batch_sizes=(),
    )
    rows = compare(recipes, options)
    measured = {row.name: row for row in bench(recipes, options)}
    floor = rows[1][1]
    lines = [["row", "GFLOP", "counted", "ratio", "time by formula", "measured", "GFLOP/s"]]
    for name, formula, count in rows:
        row = measured[name]
        lines.append(
            [
                name,
                f"{formula / 1e9:,.1f}",
                f"{count / 1e9:,.1f}",
                f"{formula / count:.4f}",
                f"{formula / floor:.3f}",
                f"{row.ratio_to_labelled:.3f}",
                f"{formula / 1e9 / (row.step_seconds or 1):,.0f}",
            ]
        )
    print(aligned(lines))


if __name__ == "__main__":
    main()
