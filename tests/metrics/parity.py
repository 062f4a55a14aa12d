"""Scores metrics beside the tools that papers use, and writes how far they differ.

python tests/metrics/parity.py --output docs/metrics_parity.md
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.metrics import captions, tables
from tests.metrics.reference import has_java

INTRODUCTION = """# Metrics beside the reference tools

Made-up answers with one to five references each: contractions, hyphens, digits, quotes, letters
beyond ASCII, empty and repeated texts (`tests/metrics/captions.py`, by seed). Written by

<!-- not run: takes several minutes of CPU -->
```bash
{command}
```
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def versions() -> str:
    """The reference tools and their versions, as far as they are installed."""
    found = []
    for name in ("pycocoevalcap", "aac-metrics", "scikit-learn"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def same_tokens(count: int, seed: int) -> tuple[str, float]:
    """The caption metrics and their tools on the same tokens."""
    rows, worst = tables.same_tokens(captions.pairs(count, seed))
    told = (
        f"## The same tokens: {count} pairs\n\n{versions()}. The largest difference of the value or"
        f" of any sample's score; at most {tables.LIMIT} is allowed.\n\n"
    )
    return told + table(["metric", "value", "from pycocoevalcap", "from aac-metrics"], rows), worst


def from_raw_text(count: int, seed: int) -> tuple[str, float]:
    """The whole way of the tools, their tokenizer included."""
    title = f"## From raw text, with `tokenizer: ptb`: {count} pairs\n\n"
    if not (has_java() and shutil.which("java")):
        return title + "No `java` on the PATH, where the tools look for it: not measured.\n", 0.0
    rows, worst = tables.whole_pipeline(captions.pairs(count, seed))
    return title + table(["metric", "value", "from pycocoevalcap, its tokenizer too"], rows), worst


def other_tokens(count: int, seed: int) -> tuple[str, float]:
    """What the tokenizer without Java changes; no limit holds for it."""
    title = f"## The built-in tokenizer against PTB's: {count} pairs of each kind\n\n"
    if not has_java():
        return title + "No Java here (`pip install 'mmadapt[java]'`): not measured.\n", 0.0
    head = ["captions", "texts split otherwise", "metric", "built-in", "PTB", "difference"]
    told = "Scores times 100, as papers print them.\n\n"
    return title + told + table(head, tables.other_tokens(count, seed)), 0.0


def vqa(count: int, seed: int) -> tuple[str, float]:
    """The rule of the VQA evaluation."""
    rows, worst = tables.vqa(10 * count, seed)
    title = "## VQA's rule, written a second time\n\n"
    return title + table(["what", "cases", "largest difference"], rows), worst


def closed(count: int, seed: int) -> tuple[str, float]:
    """Accuracy and macro F1."""
    rows, worst = tables.closed(count, seed)
    title = f"## Closed answers: {count} of 12 classes\n\n"
    if not rows:
        return title + "scikit-learn is not installed: not measured.\n", 0.0
    return title + table(["metric", "value", "from scikit-learn"], rows), worst


def intervals(count: int, draws: int, seed: int) -> str:
    """What the document frequencies do to CIDEr-D's interval."""
    rows = tables.cider_intervals(captions.pairs(count, seed), draws, seed)
    told = (
        f"## CIDEr-D's interval and its document frequencies: {count} pairs\n\n2000 draws, and "
        f"{draws} where document frequencies are counted anew.\n\n"
    )
    return told + table(["document frequencies", "mean", "95 %"], rows)


def main() -> None:
    """Writes the page; exits with 1 where a metric differs from the tool it follows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=320, help="pairs of each kind")
    parser.add_argument("--draws", type=int, default=200, help="draws that count CIDEr anew")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="the page to write; default: print it")
    options = parser.parse_args()
    command = "python tests/metrics/parity.py --output docs/metrics_parity.md"
    sections = (same_tokens, from_raw_text, other_tokens, vqa, closed)
    found = [section(options.count, options.seed) for section in sections]
    worst = max(gap for _, gap in found)
    last = intervals(options.count, options.draws, options.seed)
    text = "\n".join([INTRODUCTION.format(command=command), *(text for text, _ in found), last])
    if options.output is None:
        print(text)
    else:
        options.output.write_text(text, encoding="utf-8")
    print(f"largest difference where there should be none: {worst:.1e}", file=sys.stderr)
    sys.exit(worst > tables.LIMIT)


if __name__ == "__main__":
    main()
