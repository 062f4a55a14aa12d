"""The code that features follow from, as hashes, so that an edited plugin meets no old features.

Code of mmadapt itself, of torch and of other packages that are named by their versions is left out.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any

from torch import nn

from mmadapt.plugins import GROUP

_LEFT_OUT = sys.stdlib_module_names | {
    *("mmadapt", "torch", "torchvision", "torchaudio", "transformers", "numpy", "PIL"),
    *("decord", "av", "soundfile"),
    *("accelerate", "pydantic", "pydantic_core"),  # they compute nothing of a feature
}
_INSTALLED = ("/site-packages/", "/dist-packages/")  # what their modules import is not followed


def code_of(*parts: Any) -> dict[str, str]:
    """Names code by module: of the classes and functions that objects consist of.

    Args:
        parts: e.g. an encoder and its processor; modules by their submodules, others by their
            attributes. Classes count as they are.

    Returns:
        By module, with the modules of the same package that it imports, a hash of the source; by
        package, the version of the distribution. What has no source is named by its bytecode.
    """
    owners = {owner for part in parts for owner in _owners(part, set()) if _counts(owner)}
    found: dict[str, str] = {}
    modules = set()
    for owner in owners:
        if owner.__module__ in (None, "__main__") or _source(owner.__module__) is None:
            found[f"{owner.__module__}:{owner.__qualname__}"] = _hash(_own(owner))
        else:
            modules.add(owner.__module__)
    found |= {name: _hash(_source(name) or "") for name in _with_imports(modules)}
    packages = {str(owner.__module__).partition(".")[0] for owner in owners}
    found |= {f"{name} (version)": told for name in packages if (told := _version(name))}
    return dict(sorted(found.items()))


def _owners(value: Any, seen: set[int]) -> Iterator[Any]:
    """Classes, with those they inherit from, and functions of an object and of what it holds."""
    if value is None or isinstance(value, bool | int | float | str | bytes) or id(value) in seen:
        return
    seen.add(id(value))
    inside: Iterable[Any] = ()
    if isinstance(value, types.FunctionType):
        yield value
        inside = (getattr(value, "__wrapped__", None),)
    elif isinstance(value, type):
        yield from value.__mro__
    elif isinstance(value, types.MethodType):
        inside = (value.__func__, value.__self__)
    elif isinstance(value, partial):
        inside = (value.func, value.args, value.keywords)
    elif isinstance(value, Mapping):
        inside = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        inside = value
    elif isinstance(value, nn.Module):
        yield from (owner for part in value.modules() for owner in type(part).__mro__)
        inside = [
            item
            for part in value.modules()
            for name, item in vars(part).items()
            if not name.startswith("_")  # hooks are whose they are
        ]
    elif not isinstance(value, types.ModuleType):
        yield from type(value).__mro__
        inside = getattr(value, "__dict__", {}).values()
    for item in list(inside):
        yield from _owners(item, seen)


def _counts(owner: Any) -> bool:
    return str(owner.__module__).partition(".")[0] not in _LEFT_OUT


def _with_imports(names: set[str]) -> set[str]:
    """Modules, with those of the same package whose functions and classes they hold."""
    todo, found = list(names), set(names)
    while todo:
        module = sys.modules[todo.pop()]
        if any(
            place in str(getattr(module, "__file__", "")).replace("\\", "/") for place in _INSTALLED
        ):
            continue
        top = module.__name__.partition(".")[0]
        for value in list(vars(module).values()):
            name = _name_of(value, in_package=hasattr(module, "__path__"))
            if name.partition(".")[0] == top and name not in found and _source(name) is not None:
                found.add(name)
                todo.append(name)
    return found


def _name_of(value: Any, *, in_package: bool) -> str:
    """The module of a value; a package holds whichever of its modules others imported."""
    if isinstance(value, types.ModuleType):
        return "" if in_package else value.__name__
    if isinstance(value, type | types.FunctionType):
        return str(value.__module__)
    return ""


def _source(name: str) -> str | None:
    try:
        return inspect.getsource(sys.modules[name])
    except (OSError, TypeError, KeyError):
        return None


def _own(owner: Any) -> str:
    try:
        return inspect.getsource(owner)
    except (OSError, TypeError):
        return repr(_compiled(owner))


def _compiled(value: Any) -> Any:
    """Bytecode and constants of a function, or of all functions of a class."""
    if isinstance(value, types.CodeType):
        constants = [_compiled(item) for item in value.co_consts]
        return [value.co_code.hex(), value.co_names, constants]
    if isinstance(value, type):
        return [[name, _compiled(item)] for name, item in sorted(vars(value).items())]
    if isinstance(value, staticmethod | classmethod):
        return _compiled(value.__func__)
    if isinstance(value, property):
        return _compiled(value.fget)
    if isinstance(value, types.FunctionType):
        return [_compiled(value.__code__), _compiled(value.__defaults__)]
    if isinstance(value, tuple):
        return [_compiled(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    return value if value is None or isinstance(value, bool | int | float | str | bytes) else ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _version(package: str) -> str | None:
    """Of the distribution whose plugin it is, or that has its name."""
    for point in entry_points(group=GROUP):
        if point.value.partition(":")[0].partition(".")[0].strip() == package and point.dist:
            return f"{point.dist.name} {point.dist.version}"
    try:
        return version(package)
    except PackageNotFoundError:
        return None
