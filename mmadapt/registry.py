"""From a word in a recipe to a class: names of every kind, and where their code lives."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any

from pydantic import BaseModel

from mmadapt.errors import MissingDependency, MMAdaptError, PluginError, did_you_mean
from mmadapt.plugins import HOOKS, ONLY_VARIABLE, TARGET, Plugin, discover, first_line, trace

KINDS = tuple(HOOKS)


@dataclass(frozen=True)
class Entry:
    """A registered name; its class is imported on the first `load()`.

    Args:
        kind: One of `KINDS`.
        name: The word a recipe uses.
        target: `module:Attribute`.
        summary: One line for `mmadapt plugins`.
        package: The package that announced it.
        version: Version of the distribution of that package.
    """

    kind: str
    name: str
    target: str
    summary: str = ""
    package: str = ""
    version: str = ""

    def __str__(self) -> str:
        origin = f" ({self.package} {self.version})" if self.package else ""
        return f"{self.kind} '{self.name}'{origin}"

    def load(self) -> Any:
        """Import and return the class.

        Raises:
            MissingDependency: The code imports a package that is not installed.
            PluginError: The code cannot be imported for another reason.
        """
        return self._loaded

    def part_class(self) -> type:
        """Import the class and hold it against the contract of its kind.

        Raises:
            MMAdaptError: It cannot be imported, inherits from another class, or lacks a method.
        """
        from mmadapt import contracts  # imports torch, as the class itself has

        contract = getattr(contracts, self.kind.capitalize())
        found = self.load()
        allowed = (contract, contracts.StreamedSource) if self.kind == "source" else contract
        if not isinstance(found, type) or not issubclass(found, allowed):
            raise PluginError(
                f"{self} is no {self.kind}: {self.target} must be a class that inherits from "
                f"mmadapt.{contract.__name__}"
            )
        missing: frozenset[str] = getattr(found, "__abstractmethods__", frozenset())
        if missing:
            names = ", ".join(sorted(missing))
            raise PluginError(f"{self} is incomplete: {self.target} lacks {names}")
        return found

    def config_class(self) -> type[BaseModel]:
        """Import the class and return its `Config`.

        Raises:
            MMAdaptError: It cannot be imported, or has no `Config` that is a pydantic model.
        """
        found = getattr(self.load(), "Config", None)
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
        raise PluginError(f"{self} has no `Config` (a pydantic model) at {self.target}")

    def verify(self) -> str:
        """Import the code and return `ok`, or what is wrong with it."""
        try:
            if self.kind in ("weights", "lm_anatomy"):
                self.load()
            else:
                self.part_class()
                self.config_class()
        except MMAdaptError as error:
            return str(error)
        return "ok"

    @cached_property
    def _loaded(self) -> Any:
        module_name, _, path = self.target.partition(":")
        try:
            loaded: Any = importlib.import_module(module_name)
            for attribute in path.split("."):
                loaded = getattr(loaded, attribute)
        except MMAdaptError:
            raise
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if not missing or missing == module_name.partition(".")[0]:
                text = f"{self}: no module '{error.name}' in the current folder or on Python's path"
                raise PluginError(text) from error
            raise MissingDependency(str(self), missing) from error
        except (Exception, SystemExit) as error:
            raise PluginError(f"{self} fails at {self.target}: {first_line(error)}") from error
        file = getattr(inspect.getmodule(loaded), "__file__", None)
        trace(f"import {self.target} for {self} from {file}")
        return loaded


class Registry:
    """All names, by kind.

    Example:
        >>> registry = Registry()
        >>> registry.register("fusion", "mine", "my_package.fusion:Mine").target
        'my_package.fusion:Mine'
        >>> registry.names("fusion")
        ['mine']
    """

    def __init__(self, broken: Iterable[Plugin] = ()) -> None:
        self.broken: list[Plugin] = list(broken)
        self._entries: dict[tuple[str, str], list[Entry]] = {}

    def register(
        self,
        kind: str,
        name: str,
        target: str | type,
        summary: str = "",
        package: str = "",
        version: str = "",
    ) -> Entry:
        """Add one name; a second claim on it is kept and refused by `get`.

        Args:
            kind: One of `KINDS`.
            name: The word a recipe uses.
            target: `module:Attribute`, or the class itself.
            summary: One line for `mmadapt plugins`.
            package: The package that announces it.
            version: Version of its distribution.

        Returns:
            The new entry.
        """
        _check_kind(kind)
        path = target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"
        entry = Entry(kind, name, path, summary, package, version)
        if not isinstance(target, str):
            entry.__dict__["_loaded"] = target
        self._entries.setdefault((kind, name), []).append(entry)
        return entry

    def get(self, kind: str, name: str, allow_code: bool = False) -> Entry:
        """Return the entry of a name, or of `module:Class` code when that is allowed.

        Args:
            kind: One of `KINDS`.
            name: The word a recipe uses, or `module:Class`.
            allow_code: Accept `module:Class`.

        Raises:
            PluginError: The name is unknown, claimed twice, or code that is not allowed.
        """
        _check_kind(kind)
        if ":" in name:
            return _code_entry(kind, name, allow_code)
        claims = self._entries.get((kind, name), [])
        if not claims:
            raise PluginError(self._unknown(kind, name))
        if len(claims) > 1:
            packages = " and ".join(f"{claim.package} {claim.version}" for claim in claims)
            raise PluginError(
                f"{kind} '{name}' is registered by {packages}; uninstall one of them, or list "
                "the packages to load in MMADAPT_PLUGINS"
            )
        return claims[0]

    def names(self, kind: str) -> list[str]:
        """Return the names of one kind, sorted."""
        return sorted(name for of_kind, name in self._entries if of_kind == kind)

    def describe(self, kind: str | None = None, verify: bool = False) -> list[dict[str, str]]:
        """Return one row per name: kind, name, summary, package, version, status.

        Args:
            kind: Only this kind (and plugins that did not load, which could be of any).
            verify: Import every class, so that status tells whether it works.

        Status is `ok`, `conflict with <package>`, or the error of a plugin that did not load.
        """
        rows = []
        for key in sorted(self._entries):
            claims = self._entries[key]
            for entry in claims:
                others = [claim.package for claim in claims if claim is not entry]
                status = entry.verify() if verify else "ok"
                if others:
                    status = f"conflict with {', '.join(others)}"
                row = asdict(entry) | {"status": status}
                row.pop("target")
                rows.append(row)
        for plugin in self.broken:
            rows.append(
                {
                    "kind": "plugin",
                    "name": plugin.name,
                    "summary": "",
                    "package": plugin.package,
                    "version": plugin.version,
                    "status": f"broken: {plugin.error}",
                }
            )
        return [row for row in rows if kind is None or row["kind"] in (kind, "plugin")]

    def _unknown(self, kind: str, name: str) -> str:
        near = did_you_mean(name, self.names(kind))
        available = ", ".join(self.names(kind)) or "none"
        message = f"unknown {kind} '{name}'; available: {available}"
        message += f"; {near}" if near else ""
        if ONLY_VARIABLE in os.environ:
            message += f"; {ONLY_VARIABLE} allows only '{os.environ[ONLY_VARIABLE]}'"
        for plugin in self.broken[:1]:
            message += f"; the plugin {plugin.package} did not load ({plugin.error})"
        if len(self.broken) > 1:
            message += f", nor did {len(self.broken) - 1} others: see `mmadapt plugins`"
        return message


@cache
def get_registry() -> Registry:
    """Return the registry of the installed plugins; they are looked up once."""
    discovery = discover()
    registry = Registry(plugin for plugin in discovery.plugins if plugin.error is not None)
    for found in discovery.registrations:
        registry.register(
            found.kind,
            found.name,
            found.target,
            found.summary,
            found.plugin.package,
            found.plugin.version,
        )
    return registry


def _code_entry(kind: str, name: str, allow_code: bool) -> Entry:
    if not TARGET.fullmatch(name):
        raise PluginError(f"{kind} '{name}' is neither a registered name nor 'module:Class'")
    if not allow_code:
        raise PluginError(
            f"{kind} '{name}' names Python code, which runs when it is loaded; pass "
            "--allow-code (allow_code=True) if you trust it"
        )
    return Entry(kind, name, name, "code named in the recipe")


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise PluginError(f"unknown kind '{kind}'; kinds: {', '.join(KINDS)}")
