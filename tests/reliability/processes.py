"""Evaluation by two and four processes (gloo), answer by answer as by one: the table.

    python -m tests.reliability.processes --output docs/reliability/processes.md

Each row is one launch of `torchrun`, compared with what one process answers: the bytes of
`predictions.jsonl`, and scores, blind rows, failures and counts of files in `metrics.json`. Samples
that do not divide among the processes leave them last batches of different sizes, or none at all.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from mmadapt.composition import compose
from mmadapt.evaluate import evaluate_adapter
from tests import world
from tests.reliability import parts
from tests.reliability.bench import last

BATCH = 4
BLOCK = {"batch_size": BATCH, "blind": ["removed", "swapped"]}
HEADS = {"generated": "PlainHead", "chosen": "ChoosingHead"}
CASES = [
    (2, 16, "generated"),
    (2, 17, "generated"),
    (2, 17, "chosen"),
    (4, 16, "generated"),
    (4, 18, "generated"),
    (4, 18, "chosen"),
    (4, 3, "generated"),
]
BAD = 2  # the number of a sample that cannot be read
HEAD = f"""# Several processes, and one

Written by `python -m tests.reliability.processes --output docs/reliability/processes.md`: each row
is one launch of `torchrun` over gloo, in batches of {BATCH}. Sample {BAD} cannot be read; all
others are answered, each once, and so are the blind rows. Same: the bytes of `predictions.jsonl`,
and all scores, failures and counts in `metrics.json`, are those of one process.

"""
COMPARED = ("metrics", "blind", "blind_swapped", "failed", "data")


def main() -> int:
    """Runs all launches and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    output = parser.parse_args().output
    lines = [
        "| processes | samples | last batches | answers | answered | |",
        "|---|---|---|---|---|---|",
    ]
    print(*lines, sep="\n", flush=True)
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        adapters = {kind: saved(Path(scratch) / kind, head) for kind, head in HEADS.items()}
        for number, (processes, count, kind) in enumerate(CASES):
            place = Path(scratch) / str(number)
            answered, seen = outcome(adapters[kind], place, processes, count)
            bad += seen != "same"
            cells = [processes, count, last_batches(processes, count), kind, answered, seen]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
            print(lines[-1], flush=True)
    if output is not None:
        output.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    return bad


def saved(folder: Path, head: str) -> Path:
    """An adapter with random weights whose answers differ from sample to sample."""
    lm = world.save_lm(folder / "lm")
    recipe = world.recipe(lm, head={"use": f"tests.world:{head}"}, evaluate=BLOCK)
    model = compose(recipe, allow_code=True)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.trainable_parameters().values():
            parameter += torch.randn_like(parameter)
    model.save_pretrained(folder / "adapter")
    return folder / "adapter"


def outcome(adapter: Path, place: Path, processes: int, count: int) -> tuple[int, str]:
    """How many samples were answered, and `same` or what differs."""
    changes = [f"data.test.count={count}", f"data.test.bad=[{BAD}]", "data.max_bad_share=0.5"]
    evaluate_adapter(adapter, changes, output_dir=place / "one", allow_code=True, quiet=True)
    line = [str(adapter), "--allow-code", "-o", str(place / "several"), *changes]
    code, told = parts.ended(parts.start(parts.launched(processes, "evaluate", *line)))
    if code != 0:
        return 0, f"exit {code}: {last(told)}"
    (one, answers), (several, others) = (read(place / name) for name in ("one", "several"))
    ids = [json.loads(line)["id"] for line in others.splitlines()]
    if len(ids) != count - 1 or len(set(ids)) != len(ids):
        return len(ids), "not every sample once"
    different = [key for key in one if one[key] != several[key]]
    different += ["predictions"] if answers != others else []
    return len(ids), ", ".join(different) or "same"


def read(folder: Path) -> tuple[dict[str, object], bytes]:
    """What is compared: parts of `metrics.json`, and `predictions.jsonl`."""
    report = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {key: report[key] for key in COMPARED}, (folder / "predictions.jsonl").read_bytes()


def last_batches(processes: int, count: int) -> str:
    """The sizes of the processes' last batches."""
    shares = [len(range(rank, count, processes)) for rank in range(processes)]
    return ", ".join(str((share - 1) % BATCH + 1 if share else 0) for share in shares)


if __name__ == "__main__":
    sys.exit(main())
