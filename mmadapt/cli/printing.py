"""How commands print what they return."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer


def print_scores(result: Mapping[str, Any], as_json: bool, num_examples: int = 5) -> None:
    """Print the result of training or evaluation: JSON, or a table and a few answers.

    Args:
        result: What `metrics.json` holds, and perhaps `predictions`.
        as_json: Print JSON, without the predictions.
        num_examples: Answers to print.
    """
    if as_json:
        rest = {key: value for key, value in result.items() if key != "predictions"}
        typer.echo(json.dumps(rest, indent=2, default=str))
        return
    from mmadapt.report import example_lines, score_table

    predictions = result.get("predictions") or []
    if predictions and num_examples:
        typer.echo(example_lines(predictions, num_examples) + "\n")
    if result.get("metrics"):
        typer.echo(score_table(result))
    if lost := result.get("failed") or []:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        named = ", ".join(str(one["id"]) for one in lost[:3])
        samples = "sample was" if len(lost) == 1 else "samples were"
        typer.echo(f"{len(lost)} {samples} left out of the scores: {named}{more}", err=True)
