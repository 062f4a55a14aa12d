"""The hooks a plugin implements: each receives `register` and announces names with it.

A plugin is a module (or object) named by an entry point of the group `mmadapt`:

    from mmadapt.hookspecs import hookimpl

    @hookimpl
    def register_fusions(register):
        register("my_fusion", "my_package.fusion:MyFusion", "one line for `mmadapt plugins`")

The target is text and is imported only when a recipe names it, so announcing a name is cheap.
"""

from __future__ import annotations

from typing import Protocol

import pluggy

PROJECT = "mmadapt"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Register(Protocol):
    """What a hook receives: a function that announces one name."""

    def __call__(self, name: str, target: str, summary: str) -> None:
        """Announce `name`, found at `target` (`module:Attribute`), with a one-line summary."""


@hookspec
def register_encoders(register: Register) -> None:
    """Announce encoders: frozen media models (`encoders.<name>.use`)."""


@hookspec
def register_fusions(register: Register) -> None:
    """Announce fusions: trainable modules that mix media into the LM (`fusion.use`)."""


@hookspec
def register_heads(register: Register) -> None:
    """Announce heads: how samples become prompts and labels (`head.use`)."""


@hookspec
def register_sources(register: Register) -> None:
    """Announce sources: dataset formats (`data.<split>.use`)."""


@hookspec
def register_metrics(register: Register) -> None:
    """Announce metrics (`evaluate.metrics`)."""


@hookspec
def register_weights(register: Register) -> None:
    """Announce named weights: what a `scheme:name` model reference resolves to."""


@hookspec
def register_lm_anatomies(register: Register) -> None:
    """Announce LM anatomies: where layers, MLP and embeddings live in one model type."""
