"""Settings of an object as plain data, equal in every process, to name what was made with them."""

from __future__ import annotations

import enum
import hashlib
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor


class Nameless(TypeError):
    """A setting that cannot be written down, such as a closure."""


def settings_of(value: Any) -> Any:
    """Writes a value down: numbers, texts, containers, and objects by class and attributes.

    Args:
        value: e.g. a processor.

    Returns:
        What JSON takes. Arrays are named by a hash of their content.

    Raises:
        Nameless: a part of it has no such form.

    Example:
        >>> settings_of({"size": (2, 3)})
        {'size': [2, 3]}
    """
    return _described(value, frozenset())


def _described(value: Any, above: frozenset[int]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value.value if isinstance(value, enum.Enum) else value
    if id(value) in above:
        raise Nameless(f"{type(value).__name__} holds itself")
    above |= {id(value)}
    if isinstance(value, bytes | np.ndarray | Tensor | np.generic):
        return _hashed(value)
    if isinstance(value, Mapping):
        return {str(key): _described(item, above) for key, item in sorted(value.items(), key=str)}
    if isinstance(value, list | tuple):
        return [_described(item, above) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_described(item, above) for item in value), key=repr)
    return _object(value, above)


def _object(value: Any, above: frozenset[int]) -> Any:
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        if "<" in value.__qualname__:
            raise Nameless(f"{value.__qualname__} has no name of its own")
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, types.MethodType):
        return [_described(value.__func__, above), _described(value.__self__, above)]
    if isinstance(value, enum.Enum | PurePath):
        return str(value)
    if isinstance(value, BaseModel):
        inside: Mapping[str, Any] = dict(value)
    elif is_dataclass(value):
        inside = {field.name: getattr(value, field.name) for field in fields(value)}
    elif type(value).__reduce__ is not object.__reduce__:  # partial: its state is no attribute
        inside = {"state": list(value.__reduce__())}
    elif hasattr(value, "__dict__"):
        inside = vars(value)
    else:
        text = repr(value)
        if " at 0x" in text or " object" in text:
            raise Nameless(f"{type(value).__name__} cannot be written down")
        return text
    name = f"{type(value).__module__}:{type(value).__qualname__}"
    return [name, _described(inside, above)]


def _hashed(value: Any) -> list[Any]:
    if isinstance(value, bytes):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    if isinstance(value, Tensor):
        return _hashed_tensor(value)
    array = np.ascontiguousarray(value)
    return [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]


def _hashed_tensor(value: Tensor) -> list[Any]:
    """Of any type, also of those that numpy lacks."""
    try:
        raw = value.detach().cpu().contiguous().flatten()
        data = raw.view(torch.uint8).numpy().tobytes() if raw.numel() else b""
    except (RuntimeError, NotImplementedError, TypeError) as error:  # e.g. sparse, or meta
        reason = str(error).partition("\n")[0]
        raise Nameless(f"a tensor of {value.dtype} cannot be written down: {reason}") from error
    dtype = str(value.dtype).removeprefix("torch.")
    return [dtype, list(value.shape), hashlib.sha256(data).hexdigest()]
