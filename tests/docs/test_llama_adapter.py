"""The example of a stranger's package: it is short, it is found, it keeps the contract."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from mmadapt.composition import compose
from mmadapt.registry import Registry

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "mmadapt-llama-adapter"
LIMIT = 60
sys.path.insert(0, str(EXAMPLE))  # as if it were installed

import mmadapt_llama_adapter as package

_spec = importlib.util.spec_from_file_location("its_tests", EXAMPLE / "tests/test_llama_adapter.py")
assert _spec is not None and _spec.loader is not None
its_tests = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(its_tests)
TestLlamaAdapter = its_tests.TestLlamaAdapter
test_an_lm_without_such_projections_is_refused = (
    its_tests.test_an_lm_without_such_projections_is_refused
)


def code_lines(text: str) -> list[str]:
    """Lines that are neither blank nor a comment; docstrings count."""
    return [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]


def test_it_is_shorter_than_promised():
    files = sorted((EXAMPLE / "mmadapt_llama_adapter").glob("*.py"))
    lines = [line for file in files for line in code_lines(file.read_text())]
    assert len(files) == 2
    assert len(lines) < LIMIT
    assert max(map(len, lines)) <= 100


def test_its_entry_point_announces_it():
    registry = Registry()
    package.register_fusions(
        lambda *found: registry.register("fusion", *found, package="mmadapt-llama-adapter")
    )
    assert registry.names("fusion") == ["llama_adapter"]
    assert registry.get("fusion", "llama_adapter").verify() == "ok"
    assert 'llama_adapter = "mmadapt_llama_adapter"' in (EXAMPLE / "pyproject.toml").read_text()


def test_announcing_imports_no_fusion():
    """Names are listed without torch."""
    source = (EXAMPLE / "mmadapt_llama_adapter/__init__.py").read_text()
    assert "import torch" not in source and "fusion import" not in source


@pytest.mark.parametrize(("num_layers", "first"), [(2, 4), (30, 0)])
def test_it_composes_with_the_embedded_models(num_layers, first):
    model = compose(
        lm="embedded:lm",
        encoders={"image": {"use": "vit", "model": "embedded:vit"}},
        fusion={"use": "mmadapt_llama_adapter.fusion:LlamaAdapter", "num_layers": num_layers},
        allow_code=True,
    )
    fusion = model.fusions["LlamaAdapter"]
    assert list(fusion.layers(6)) == list(range(first, 6))
    assert fusion.prompts.shape == (6 - first, 10, 192)
