"""A model that has learnt nothing, shared by a module's tests."""

from __future__ import annotations

import pytest

from tests import world


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return world.untrained(tmp_path_factory.mktemp("lm"))
