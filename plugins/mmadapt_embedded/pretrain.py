"""Make the embedded weights: ``python -m mmadapt_embedded.pretrain all --output DIR``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from mmadapt_embedded.folder import NAMES
from mmadapt_embedded.pretrain_ast import pretrain_ast
from mmadapt_embedded.pretrain_lm import pretrain_lm
from mmadapt_embedded.pretrain_vit import pretrain_vit

_PRETRAIN: dict[str, Callable[[Path, int], None]] = {
    "lm": pretrain_lm,
    "vit": pretrain_vit,
    "ast": pretrain_ast,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Pretrain one part or all of them; a few minutes each on two cores.

    Args:
        arguments: The command line; default: the process's own.
    """
    parser = argparse.ArgumentParser(prog="python -m mmadapt_embedded.pretrain")
    parser.add_argument("part", choices=[*NAMES, "all"])
    parser.add_argument("--output", type=Path, required=True, help="folder that gets lm/, vit/, …")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    for name in NAMES if options.part == "all" else [options.part]:
        _PRETRAIN[name](options.output / name, options.seed)


if __name__ == "__main__":
    main()
