"""One cached sample of one encoder and fusion: a safetensors file with a checksum of its content.

The file is memory-mapped when it is read. bfloat16, which numpy lacks, is kept as the 16-bit
integers of the same bits.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mmadapt.types import Features

_DTYPES = {
    **{"float64": torch.float64, "float32": torch.float32, "float16": torch.float16},
    **{"bfloat16": torch.bfloat16, "bool": torch.bool, "uint8": torch.uint8, "int8": torch.int8},
    **{"int16": torch.int16, "int32": torch.int32, "int64": torch.int64},
}


class DamagedEntry(Exception):
    """A file that is no entry, or not as it was written."""


@dataclass(frozen=True)
class Entry:
    """What is known of one sample.

    Args:
        features: of b = 1.
        counts: items that the encoder was given of each of the sample's files.
    """

    features: Features
    counts: tuple[int, ...]


def rounded(features: Features, dtype: torch.dtype | None) -> Features:
    """The features as they come back after they were kept in `dtype`; None keeps every bit."""
    if dtype is None:
        return features
    levels = tuple(
        level.to(dtype).to(level.dtype) if level.is_floating_point() else level
        for level in features.levels
    )
    return replace(features, levels=levels)


def entry_bytes(features: Features, counts: Sequence[int], dtype: torch.dtype | None) -> bytes:
    """The file's content.

    Args:
        features: of one sample.
        counts: items of each of its files.
        dtype: to keep the levels in; None keeps their own.
    """
    kept = [level if dtype is None else level.to(dtype) for level in features.levels]
    arrays = {f"level.{number}": _to_numpy(level) for number, level in enumerate(kept)}
    arrays |= {"mask": _to_numpy(features.mask), "item": _to_numpy(features.item)}
    about = json.dumps(
        {
            "counts": list(counts),
            "dtypes": [_name(level.dtype) for level in features.levels],
            "kept": [_name(level.dtype) for level in kept],
            "num_prefix_tokens": features.num_prefix_tokens,
            "grid": features.grid,
        }
    )
    metadata = {"about": about, "crc32": str(_checksum(about, arrays))}
    return save(arrays, metadata=metadata)


def read_entry(path: Path, *, check: bool) -> Entry:
    """Reads an entry.

    Args:
        path: of its file.
        check: compare the checksum, beside sizes.

    Raises:
        FileNotFoundError: there is none.
        DamagedEntry: it is not as it was written.
    """
    try:
        with safe_open(path, framework="np") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if check and int(metadata["crc32"]) != _checksum(metadata["about"], arrays):
            raise DamagedEntry("its checksum is another")
        about = json.loads(metadata["about"])
        return Entry(_features(arrays, about), tuple(about["counts"]))
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise DamagedEntry(str(error).splitlines()[0] if str(error) else "no entry") from error


def _features(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Features:
    levels = []
    for number, (kept, dtype) in enumerate(zip(about["kept"], about["dtypes"], strict=True)):
        tensor = torch.from_numpy(arrays[f"level.{number}"])
        if kept == "bfloat16":
            tensor = tensor.view(torch.bfloat16)
        levels.append(tensor.to(_DTYPES[dtype]))
    grid = about["grid"]
    return Features(
        tuple(levels),
        torch.from_numpy(arrays["mask"]),
        torch.from_numpy(arrays["item"]),
        int(about["num_prefix_tokens"]),
        None if grid is None else (int(grid[0]), int(grid[1])),
    )


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu().contiguous()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@cache
def _numpy_name(dtype: np.dtype) -> str:
    """Its name, which numpy makes anew each time."""
    return str(dtype)


def _checksum(about: str, arrays: Mapping[str, np.ndarray]) -> int:
    value = zlib.crc32(about.encode())
    for name in sorted(arrays):
        array = arrays[name]
        value = zlib.crc32(f"{name} {_numpy_name(array.dtype)} {array.shape}".encode(), value)
        value = zlib.crc32(array.data, value)
    return value
