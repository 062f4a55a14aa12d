"""A registry and a recipe for the tests of recipes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mmadapt.contracts import Encoder, Fusion, Head, Metric, Source
from mmadapt.registry import Registry

RECIPE = """\
name: clip-caption
lm: {model: "org/lm"}
encoders:
  video: {use: frames, model: "org/vit", num_frames: 8}
fusion: {use: adem, scales: [[4, 4], [2, 2]], alpha: 1.0}
head: {use: caption, prompt: "a video of"}
data:
  train: {use: files, path: train.jsonl}
train: {max_steps: 800, learning_rate: 9e-3, seed: 0}
evaluate: {metrics: [exact, {use: cider, n: 2}], generate: {max_new_tokens: 24}}
"""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Frames(Encoder):
    class Config(Strict):
        model: str
        num_frames: int = Field(8, ge=1)

    def forward(self, inputs, levels):
        raise AssertionError("nothing is built here")


class Adem(Fusion):
    class Inner(Strict):
        width: int = 4

    class Config(Strict):
        scales: tuple[tuple[int, int], ...] = ()
        alpha: float = 0.1
        mode: Literal["soft", "hard"] = "soft"
        layers: int | list[int] = 0
        inner: "Adem.Inner | None" = None


Adem.Config.model_rebuild(_types_namespace={"Adem": Adem})


class Caption(Head):
    class Config(Strict):
        prompt: str = ""


class Files(Source):
    class Config(Strict):
        path: str

    def __len__(self):
        return 0

    def __getitem__(self, index):
        raise IndexError(index)


class Exact(Metric):
    class Config(Strict):
        pass

    def update(self, sample, answer):
        pass

    def compute(self):
        raise AssertionError("nothing is scored here")


class Cider(Exact):
    class Config(Strict):
        n: int = 4


def make_registry() -> Registry:
    """A registry with one plugin of each kind."""
    registry = Registry()
    found = {"encoder": ("frames", Frames), "fusion": ("adem", Adem), "head": ("caption", Caption)}
    found |= {"source": ("files", Files), "metric": ("cider", Cider)}
    registry.register("metric", "exact", Exact, package="pack", version="0.1")
    for kind, (name, cls) in found.items():
        registry.register(kind, name, cls, package="pack", version="0.1")
    return registry
