"""Fixtures shared by the tests of the core."""

from __future__ import annotations

import sys

import pytest

from mmadapt.registry import get_registry


@pytest.fixture
def plugin_folder(tmp_path, monkeypatch):
    """A folder on the path; what is imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    get_registry.cache_clear()
    before = set(sys.modules)
    yield folder
    get_registry.cache_clear()
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
