"""Every fusion on every LM family, and every encoder under every fusion; writes the table.

python tests/matrix/run.py --output docs/matrix.md
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch
import transformers

from tests.matrix.cells import Cell, invariants
from tests.matrix.parts import ENCODERS, FAMILIES, FUSIONS
from tests.matrix.table import Result, page


def run_cell(fusion: str, encoder: str, family: str) -> Result:
    """All invariants of one cell."""
    cell, result = Cell(fusion, encoder), Result(fusion, encoder, family)
    result.refused = cell.refusal()
    for invariant in () if result.refused else invariants(encoder):
        try:
            result.declared[invariant] = cell.keeps(invariant, family)
        except Exception as error:  # a broken cell must not hide the others
            result.failed[invariant] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return result


def main() -> None:
    """Runs all cells and writes the page; exits with 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the page to write")
    parser.add_argument("--match", default="", help="only cells whose name holds this text")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    cells = [(fusion, "tiny", family) for fusion in FUSIONS for family in FAMILIES]
    cells += [(fusion, encoder, "llama") for encoder in ENCODERS for fusion in FUSIONS]
    chosen = [cell for cell in dict.fromkeys(cells) if arguments.match in " | ".join(cell)]
    started, results = time.perf_counter(), []
    for number, cell in enumerate(chosen, start=1):
        results.append(run_cell(*cell))
        seconds = time.perf_counter() - started
        print(f"{number}/{len(chosen)} {seconds:.0f} s: {results[-1].line()}", flush=True)
    arguments.output.write_text(page(results, time.perf_counter() - started))
    sys.exit(any(result.failed for result in results))


if __name__ == "__main__":
    main()
