"""mmadapt: teach a frozen language model to perceive."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mmadapt.hookspecs import hookimpl

if TYPE_CHECKING:
    from mmadapt.anatomy import Anatomy
    from mmadapt.composition import compose, load
    from mmadapt.contracts import Encoder, Fusion, Head, Metric, Source, StreamedSource
    from mmadapt.model import MultimodalModel
    from mmadapt.recipe import load_recipe

_LAZY = {
    "Anatomy": "mmadapt.anatomy",
    "Encoder": "mmadapt.contracts",
    "Fusion": "mmadapt.contracts",
    "Head": "mmadapt.contracts",
    "Metric": "mmadapt.contracts",
    "MultimodalModel": "mmadapt.model",
    "Source": "mmadapt.contracts",
    "StreamedSource": "mmadapt.contracts",
    "compose": "mmadapt.composition",
    "load": "mmadapt.composition",
    "load_recipe": "mmadapt.recipe",
}

__version__ = "0.1.0"
__all__ = [
    "Anatomy",
    "Encoder",
    "Fusion",
    "Head",
    "Metric",
    "MultimodalModel",
    "Source",
    "StreamedSource",
    "compose",
    "hookimpl",
    "load",
    "load_recipe",
]


def __getattr__(name: str) -> Any:  # keeps torch out of `mmadapt --help`
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'mmadapt' has no attribute {name!r}")
