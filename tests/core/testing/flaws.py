"""Running one test of a contract by hand, to see it pass or say what it asks."""

from __future__ import annotations

import pytest


def verdict(contract, test, folder, *arguments, **attributes):
    """The message of a failing test of a contract class; None where it passes."""
    case = contract()
    case.folder = folder
    case._config = None
    for name, value in attributes.items():
        setattr(case, name, value)
    try:
        getattr(case, test)(*arguments)
    except (AssertionError, pytest.fail.Exception) as failure:
        return str(failure)
    return None


def names_of(contract):
    """The names of a contract's tests."""
    return [name for name in dir(contract) if name.startswith("test_")]
