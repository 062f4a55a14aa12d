"""Answers of `mmadapt generate --stream`: printed while they are generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from mmadapt.cli.records import Record, answer_all


def stream_answers(model: Any, records: list[Record], options: Mapping[str, Any]) -> int:
    """Prints answers word by word, each after its file where there are several.

    What is printed is what the LM says; what a head makes of it afterwards is not seen.

    Args:
        model: composed.
        records: answered one after another.
        options: of `transformers.GenerationConfig`.

    Returns:
        How many failed.
    """
    from transformers import TextStreamer

    tokenizer, failed = model.require_tokenizer(), 0
    for record in records:
        if len(records) > 1:
            typer.echo(f"{record['id']}\t", nl=False)
        streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        for answer in answer_all(model, [record], 1, {**options, "streamer": streamer}):
            if "error" in answer:
                failed += 1
                typer.echo(f"error: {answer['error']}", err=True)
    return failed
