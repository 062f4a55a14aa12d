"""Code that features follow from: a package is written, imported, edited and imported anew."""

import importlib
import json
import sys
import types
from functools import partial

import pytest
import torch

from mmadapt.contracts import Fusion
from mmadapt.features.code import code_of
from mmadapt.features.sets import about_set
from mmadapt.testing.tiny import TinyEncoder, context, tiny_lm

PROCESSOR = """
from own_code.resize import resize

class Base:
    def __call__(self, media, rng=None):
        return resize(media["value"])

class Mine(Base):
    def __init__(self):
        self.size = 8
"""
FILES = {
    "__init__": "",
    "processor": PROCESSOR,
    "resize": "from own_code import scale\ndef resize(x):\n    return scale.scaled(x)\n",
    "scale": "def scaled(x):\n    return x / 255\n",
    "other": "def other():\n    return 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes the package with some files changed, and imports it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def written(**files):
        for name in [name for name in sys.modules if name.partition(".")[0] == "own_code"]:
            del sys.modules[name]
        (tmp_path / "own_code").mkdir(exist_ok=True)
        for name, text in (FILES | files).items():
            (tmp_path / "own_code" / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module("own_code.processor")

    yield written
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_code"]:
        del sys.modules[name]


def set_of(processor):
    """All that the name of a set stands for."""

    class Whole(Fusion):
        def __init__(self, given):
            super().__init__(None, given)

    torch.manual_seed(0)
    encoder = TinyEncoder()
    encoder.processor = processor
    fusion = Whole(context(tiny_lm("opt"), {"image": encoder}))
    return json.dumps(about_set(encoder, fusion, {}, "image"), sort_keys=True)


def test_an_edited_processor_has_a_set_of_its_own(package):
    one = set_of(package().Mine())
    assert set_of(package().Mine()) == one
    assert set_of(package(processor=PROCESSOR.replace("resize(m", "1 - resize(m")).Mine()) != one
    assert set_of(package(scale=FILES["scale"].replace("255", "127.5 - 1")).Mine()) != one
    assert set_of(package(other="changed = True").Mine()) == one  # it does not import this


@pytest.mark.parametrize(
    "hold",
    [
        lambda m: m.Mine,
        lambda m: [{"steps": (m.Mine(),)}],
        lambda m: types.SimpleNamespace(call=partial(m.resize, 1)),
        lambda m: m.Mine().__call__,
        lambda m: type("Inherits", (m.Mine,), {"__module__": "mmadapt.x"})(),
        lambda m: torch.nn.Sequential(type("Layer", (torch.nn.Module, m.Mine), {})()),
    ],
)
def test_code_is_found_wherever_it_is_held(package, hold):
    assert code_of(hold(package()))["own_code.scale"]


def test_code_without_a_file_is_named_by_what_it_does():
    def made(factor):
        module = types.ModuleType("no_file")
        text = f"class Mine:\n    def __call__(self, x):\n        return [v * {factor} for v in x]"
        exec(text, module.__dict__)
        return code_of(module.Mine())

    assert made("1 / 255") == made("1 / 255") != made("1 / 127")


def test_what_has_a_version_is_left_out_and_hooks_are_not_the_encoders():
    encoder = TinyEncoder()
    encoder.register_forward_hook(lambda *_: None)
    assert code_of(encoder, torch.nn.Linear(1, 1), json.JSONDecoder()) == {}


def test_the_version_of_a_plugins_distribution_counts():
    from mmadapt_adem.fusion import AdemFusion

    assert code_of(AdemFusion)["mmadapt_adem (version)"].startswith("mmadapt ")
