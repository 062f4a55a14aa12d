"""Which of transformers' key/value caches an answer can be generated with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch

from mmadapt.errors import DataError, MissingDependency


def check_lm_cache(options: Mapping[str, Any], causal: bool, device: torch.device) -> None:
    """Refuses a cache that cannot work, before transformers fails in the middle.

    Args:
        options: of `generate`.
        causal: whether all fusions are.
        device: of the LM's embeddings.

    Raises:
        DataError: the cache does not go with the fusion or the device.
        MissingDependency: the package of quantised caches is not installed.
    """
    kind = options.get("cache_implementation")
    if kind is None:
        return
    reason = None
    if not causal:
        reason = "a fusion lets a position read later ones (epalm's mode: published)"
    elif "offloaded" in kind and device.type == "cpu":
        reason = "the LM is in main memory already; 'static' is the one of fixed size"
    elif kind == "paged":
        reason = "its continuous batches mix prompts, and memories belong to rows; use 'static'"
    if reason is not None:
        raise DataError(
            "generate",
            None,
            f"cache_implementation '{kind}' cannot be used: {reason}, or leave it out",
        )
    config = options.get("cache_config") or {}
    backend = config.get("backend", "quanto") if isinstance(config, Mapping) else "quanto"
    package = {"quanto": "optimum.quanto", "hqq": "hqq"}.get(str(backend).lower())
    if kind == "quantized" and package is not None and not _is_installed(package):
        raise MissingDependency(
            "cache_implementation 'quantized'", package, package.replace(".", "-")
        )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even its parent
        return False
