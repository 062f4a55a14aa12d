"""Limits of media can be set by the environment."""

import importlib

import pytest

from mmadapt.data.media import limits


@pytest.mark.parametrize(
    ("value", "found"), [("1000", 1000), ("", 2**27), ("0", 2**27), ("1e9", 2**27), ("-5", 2**27)]
)
def test_limits_of_the_environment(monkeypatch, value, found):
    monkeypatch.setenv("MMADAPT_MAX_IMAGE_PIXELS", value)
    try:
        assert found == importlib.reload(limits).MAX_IMAGE_PIXELS
    finally:
        monkeypatch.undo()
        importlib.reload(limits)
