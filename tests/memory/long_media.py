"""Memory of encoding long media, in pieces and at once, on imagined tensors.

    python -m tests.memory.long_media

Prints a table: one sample with so many frames through the encoder of a bench recipe, float32,
without gradients; the most that is alive beyond weights and the frames themselves, in MiB, and
what of it the fusion keeps.
"""

from __future__ import annotations

from typing import Any

import torch

from mmadapt.checking.example import example_media, untrained_model
from mmadapt.checking.ledger import Ledger, imagined
from mmadapt.weights import untrained
from tests.memory.estimate import recipe_of

FRAMES = (16, 64, 256)
MIB = 2**20


def encoding_peak(model: Any, frames: int, items_at_once: int | None) -> tuple[int, int]:
    """Bytes that encoding one sample takes at most, and that are left of it."""
    (name, encoder), *_ = model.encoders.items()
    encoder.items_at_once = items_at_once
    given_media: Any = example_media(encoder, 1)
    inputs: Any = {key: value[:, :1] for key, value in given_media.items()}
    inputs = {key: torch.cat([value] * frames, dim=1) for key, value in inputs.items()}
    with Ledger() as ledger, torch.no_grad():
        for value in inputs.values():
            ledger.enter(value)
        given = ledger.total(ledger.live)
        for parameter in (*encoder.parameters(), *encoder.buffers()):
            ledger.enter(parameter, "weights")
        ledger.forget_peak()
        before = ledger.total(ledger.live)
        found = model.encode({name: inputs})
        kept = ledger.total(ledger.live) - before
        del found
    assert given
    return ledger.total(ledger.peak) - before, kept


def rows(lm: str = "smollm2-135m") -> list[tuple[str, int, int, int, int]]:
    """Fusion, frames, bytes in pieces, at once, and kept."""
    found = []
    for fusion in ("adem", "epalm", "evlm", "prefix"):
        with imagined(), untrained():
            model = untrained_model(recipe_of(lm, fusion, False, 1))
            encoder: Any = next(iter(model.encoders.values()))
            size = encoder.items_at_once
            for frames in FRAMES:
                pieces, kept = encoding_peak(model, frames, size)
                found.append((fusion, frames, pieces, encoding_peak(model, frames, None)[0], kept))
    return found


def main() -> None:
    """Prints the table."""
    print("| fusion | frames | in pieces | at once | of it kept |\n|---|---|---|---|---|")
    for fusion, frames, pieces, whole, kept in rows():
        numbers = " | ".join(f"{size / MIB:,.0f}" for size in (pieces, whole, kept))
        print(f"| {fusion} | {frames} | {numbers} |")


if __name__ == "__main__":
    main()
