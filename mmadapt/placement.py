"""Where a composed model lies: an LM that transformers has placed is never moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from mmadapt.errors import ModelError
from mmadapt.faults import reason_of

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel


def is_placed(lm: nn.Module) -> bool:
    """Whether an LM says itself that several devices or quantisation fix where it lies."""
    return (
        getattr(lm, "hf_device_map", None) is not None
        or getattr(lm, "is_quantized", False)
        or getattr(lm, "quantization_method", None) is not None
    )


def embedding_device(lm: nn.Module) -> torch.device:
    """Where the LM's token embeddings are, or run where their weights are offloaded."""
    embeddings: Any = cast(Any, lm).get_input_embeddings()
    device = cast(Tensor, embeddings.weight).device
    if device.type == "meta" and hasattr(embeddings, "_hf_hook"):
        return torch.device(embeddings._hf_hook.execution_device)
    return device


def place(model: MultimodalModel, device: str | torch.device | None = None) -> None:
    """Moves what may be moved.

    A placed LM stays where it is; encoders and fusions join its token embeddings, and hooks carry
    what they read and return between there and the device of each layer.

    Args:
        model: moved in place.
        device: where to; default: a GPU if there is one, else where it is.

    Raises:
        ModelError: the LM is placed elsewhere than on `device`, or the device cannot be used.
    """
    if model.is_placed:
        home = embedding_device(model.lm)
        if device is not None and not _same(torch.device(device), home):
            raise ModelError(
                f"the LM lies on {home} because of lm.device_map or lm.quantization; leave the "
                f"device {device} out, or name it as lm.device_map"
            )
        model.encoders.to(home)
        model.fusions.to(home)
        return
    if device is None:
        device = "cuda" if torch.cuda.is_available() else None
    if device is None:
        return
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = reason_of(error)
        raise ModelError(f"device {device} cannot be used: {reason}") from error


def _same(wanted: torch.device, home: torch.device) -> bool:
    return wanted.type == home.type and wanted.index in (None, home.index)
