"""Every form of the fusion keeps the contract of all fusions."""

from __future__ import annotations

from types import MappingProxyType

import pytest
import torch

from mmadapt.testing import FusionContract
from mmadapt.testing.case import assert_close, generated
from mmadapt_epalm.config import EpalmConfig
from mmadapt_epalm.fusion import EpalmFusion
from tests.tiny import TinyEncoder

WINDOWED = ("mistral", "gemma3_text")  # windows of 6 columns, shorter than every text
FAMILIES = ("opt", "llama", "mistral", "gemma3_text", "gpt2", "gpt_neox")


class TestDefault(FusionContract):
    """A soft prompt at the input; the slot in layers 1 to 3, whose windows add up to the text."""

    families = FAMILIES
    noise = 0.0  # no gate starts closed
    options = MappingProxyType({"prompt_length": 4, "start": 1})

    def make(self, context):
        return EpalmFusion(EpalmConfig(**self.options), context)


class TestLatePrompt(TestDefault):
    """Prompt and slot enter at layer 1, and nothing is trained below it."""

    families = ("opt", "mistral")
    options = MappingProxyType(
        {"prompt_length": 2, "prompt_at": "start", "start": 1, "prompt_mlp": False}
    )


class TestEarlyEnd(TestDefault):
    """The slot carries on by itself in the last layer; no soft prompt; one shared connector."""

    compiles = False  # compiling takes seconds: the default speaks for all
    families = ("opt", "gemma3_text")
    options = MappingProxyType(
        {"prompt_length": 0, "start": 1, "end": 3, "connectors": "shared", "pool": "mean"}
    )


class TestSlotForEachItem(TestDefault):
    """Clips of three items, each with a slot of its own."""

    compiles = False  # compiling takes seconds: the default speaks for all
    families = ("gpt2", "mistral")
    options = MappingProxyType({"prompt_length": 1, "slots": "item"})

    def encoders(self):
        return {"video": TinyEncoder(items=3)}


class TestTwoEncoders(TestDefault):
    """Two encoders of unequal size have a slot each."""

    compiles = False  # compiling takes seconds: the default speaks for all
    families = ("llama",)
    options = MappingProxyType({"prompt_length": 1, "start": 0, "interval": 3})

    def encoders(self):
        return {"image": TinyEncoder(), "audio": TinyEncoder(width=16, depth=4)}


@pytest.mark.parametrize("family", ["llama", *WINDOWED])
def test_static_cache_changes_nothing(family: str) -> None:
    case = TestDefault()
    model = case.join(family)
    batch = case.batch(model)
    dynamic, static = (
        generated(model, batch, **options) for options in ({}, {"cache_implementation": "static"})
    )
    assert torch.equal(dynamic[0], static[0])
    assert_close(dynamic[1], static[1], case.tolerance, "a static cache changes the logits")


def test_windows_in_every_other_layer() -> None:
    """Caches of two kinds in one LM, as in Gemma 3: cached and uncached agree."""
    case = TestDefault()
    layer_types = ["sliding_attention", "full_attention"] * 2
    model = case.join("gemma3_text", layer_types=layer_types)
    batch = case.batch(model)
    cached, uncached = (generated(model, batch, use_cache=use) for use in (True, False))
    assert torch.equal(cached[0], uncached[0])
    assert_close(cached[1], uncached[1], case.tolerance, "cached and uncached differ")


@pytest.mark.parametrize("family", FAMILIES)
def test_eager_attention_gives_the_same(family: str) -> None:
    case = TestDefault()
    sdpa = case.join(family)
    eager = case.join(family, attn_implementation="eager")
    batch = case.batch(sdpa)
    a, b = generated(sdpa, batch), generated(eager, batch)
    assert torch.equal(a[0], b[0])
    assert_close(a[1], b[1], case.tolerance, "eager and sdpa differ")
