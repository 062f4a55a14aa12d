"""The versions of the packages that numbers depend on."""

from __future__ import annotations

import platform
from importlib.metadata import version

PACKAGES = ("mmadapt", "torch", "transformers", "accelerate")


def package_versions() -> dict[str, str]:
    """Of Python and of the packages, by name."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
