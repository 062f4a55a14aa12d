"""The files of an adapter folder, and what of them is checked before their tensors are used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmadapt.errors import AdapterError
from mmadapt.json_text import parse_json

FORMAT_VERSION = 1
WEIGHTS, RECIPE, BASES, CARD = "adapter.safetensors", "recipe.yaml", "base_models.json", "README.md"
_MAX_BASES = 2**20  # bytes of the fingerprints' file


def check_format(folder: Path) -> None:
    """Refuses an adapter of a later mmadapt, before anything else of it is understood.

    Raises:
        AdapterError: it is of a newer format, or damaged.
    """
    if not (folder / WEIGHTS).is_file():
        raise AdapterError(f"{folder} is no adapter folder: it has no {WEIGHTS}")
    if (folder / RECIPE).exists():
        check_inside(folder / RECIPE)
    version = _bases(folder).get("format_version", FORMAT_VERSION)
    check_version(folder / BASES, version if isinstance(version, int) else 0)


def check_version(file: Path, version: int) -> None:
    """Refuses a format that this mmadapt does not read; `file` is what names it."""
    if version > FORMAT_VERSION:
        raise AdapterError(
            f"{file} has format {str(version)[:20]}; this mmadapt reads {FORMAT_VERSION}: "
            "upgrade it (pip install --upgrade mmadapt)"
        )
    if version < 1:
        raise AdapterError(f"{file} is damaged: it names no format; save the adapter again")


def check_inside(file: Path) -> None:
    """Refuses a link that leads out of the adapter's folder, but for those of the hub's cache.

    Raises:
        AdapterError: it does.
    """
    folder, target = os.path.realpath(file.parent), os.path.realpath(file)
    homes = [folder]
    if os.path.basename(os.path.dirname(folder)) == "snapshots":  # links to blobs beside it
        homes.append(os.path.join(os.path.dirname(os.path.dirname(folder)), "blobs"))
    if os.path.dirname(target) not in homes:
        raise AdapterError(
            f"{file} is a link that leads out of the adapter's folder; copy it there"
        )


def _bases(folder: Path) -> dict[str, Any]:
    """What the fingerprints' file says.

    Raises:
        AdapterError: it is missing, too large, or no JSON object.
    """
    file = folder / BASES
    try:
        if not file.is_file():  # reading a pipe would wait forever
            raise OSError("no such file")
        check_inside(file)
        with file.open("rb") as opened:
            content = opened.read(_MAX_BASES + 1)
        if len(content) > _MAX_BASES:
            raise ValueError("too large")
        return dict(parse_json(content.decode("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise AdapterError(
            f"{file} is missing or damaged, so the base models are unknown"
        ) from error


def check_bases(folder: Path, now: Mapping[str, Any]) -> None:
    """Compares the base models that an adapter was trained on with those that are there.

    Args:
        folder: of the adapter.
        now: what `fingerprint` says of each base model, by name.

    Raises:
        AdapterError: one differs, or the weights are not those that were saved with the rest.
    """
    written = _bases(folder)
    then, digest = written.get("models"), written.get("weights")
    if not isinstance(then, dict):
        raise AdapterError(
            f"{folder / BASES} is missing or damaged, so the base models are unknown"
        )
    if digest != file_digest(folder / WEIGHTS):
        raise AdapterError(
            f"{folder / WEIGHTS} is not the file that was saved with {BASES}: it was damaged, or "
            "the folder was written halfway; save the adapter again"
        )
    for name, base in now.items():
        saved = then.get(name)
        if not isinstance(saved, dict):
            raise AdapterError(
                f"the adapter was trained without '{name}'; it has {some_of(sorted(then))}"
            )
        same = saved.get("shapes") == base.get("shapes")
        if same and _comparable(saved.get("dtypes"), base.get("dtypes")):
            same = saved.get("values") == base.get("values")
        if not same:
            raise AdapterError(
                f"{name}: the adapter was trained on another model ({_described(saved)}) than the "
                f"one given ({_described(base)}); name the original model in the recipe"
            )


def _described(base: Mapping[str, Any]) -> str:
    return f"{str(base.get('class'))[:100]}, {str(base.get('parameters'))[:20]} parameters"


def _comparable(then: Any, now: list[str] | None) -> bool:
    """Whether two loads of one checkpoint have the same values in bfloat16."""
    kinds = {str(kind) for kind in then} if isinstance(then, list) else set()
    return kinds ^ set(now or ()) <= {"float32", "bfloat16"}


def file_digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def some_of(names: list[str]) -> str:
    """The first five of some names."""
    return ", ".join(name[:200] for name in names[:5]) + (
        f" and {len(names) - 5} more" if len(names) > 5 else ""
    )
