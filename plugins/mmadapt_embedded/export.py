"""Write pretrained parts as ordinary transformers folders, with a record of what they saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import PreTrainedModel


def save_half(model: PreTrainedModel, folder: Path) -> None:
    """Save ``model`` with float16 weights on disk and ``float32`` in its configuration.

    Half the bytes in the wheel; the Auto classes load it in float32, as the configuration says.

    Args:
        model: A trained model in float32.
        folder: Where ``config.json`` and ``model.safetensors`` go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    state = {
        name: tensor.half().contiguous()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    file = folder / "model.safetensors"
    save_file(state, file, metadata={"format": "pt"})
    file.chmod(0o644)  # the library makes it private; an installed model is for every user


def save_record(folder: Path, record: dict[str, Any]) -> None:
    """Write ``pretraining.json``: seed, steps, what was seen, what was reached."""
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    (folder / "pretraining.json").write_text(text, encoding="utf-8")
