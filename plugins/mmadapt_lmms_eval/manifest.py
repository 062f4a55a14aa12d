"""Announces the model to lmms-eval (entry point group `lmms_eval.models`)."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The `ModelManifest` of `--model mmadapt`; lmms-eval calls it when it starts."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("mmadapt", simple_class_path="mmadapt_lmms_eval.model.MMAdapt")
