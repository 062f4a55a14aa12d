"""Finding plugins: entry points of the group `mmadapt`, each one loaded on its own.

A plugin that fails is recorded with the first line of its error and never stops the others.
`MMADAPT_PLUGINS=a,b` limits loading to these packages, distributions or entry points (empty:
none); `MMADAPT_TRACE_PLUGINS=1` prints to stderr what is loaded from where, every hook call and
every name that is announced.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from mmadapt import hookspecs
from mmadapt.errors import PluginError

GROUP = "mmadapt"
ONLY_VARIABLE = "MMADAPT_PLUGINS"
TRACE_VARIABLE = "MMADAPT_TRACE_PLUGINS"

HOOKS = {
    "encoder": "register_encoders",
    "fusion": "register_fusions",
    "head": "register_heads",
    "source": "register_sources",
    "metric": "register_metrics",
    "weights": "register_weights",
    "lm_anatomy": "register_lm_anatomies",
}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True)
class Plugin:
    """One entry point.

    Args:
        name: Entry-point name.
        package: Top-level package of its module.
        distribution: The installed distribution that announces it.
        version: Version of that distribution.
        error: First line of what went wrong; None for a plugin that loaded.
    """

    name: str
    package: str
    distribution: str
    version: str
    error: str | None = None


@dataclass(frozen=True)
class Registration:
    """One name that a plugin announced through a hook."""

    kind: str
    name: str
    target: str
    summary: str
    plugin: Plugin


@dataclass
class Discovery:
    """All plugins that were looked at, and all names they announced."""

    plugins: list[Plugin] = field(default_factory=list)
    registrations: list[Registration] = field(default_factory=list)


def discover(points: Iterable[EntryPoint] | None = None) -> Discovery:
    """Load the plugins and collect what they announce.

    Args:
        points: Entry points to load; default: the installed ones of the group `mmadapt`.

    Returns:
        The plugins, broken ones included, and the announced names.

    Raises:
        PluginError: `MMADAPT_PLUGINS` names something that is not installed.
    """
    found = sorted(
        entry_points(group=GROUP) if points is None else points,
        key=lambda point: (_plugin(point).distribution, point.name),
    )
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.add_hookcall_monitoring(_trace_call, lambda *_: None)
    discovery = Discovery()
    for point in _selected(found):
        plugin = _plugin(point)
        trace(f"load {point.name} = {point.value} ({plugin.distribution} {plugin.version})")
        try:
            discovery.registrations += _announced(manager, point, plugin)
        except (Exception, SystemExit) as error:  # a stranger's code may raise anything
            plugin = replace(plugin, error=first_line(error))
            trace(f"broken {point.name}: {plugin.error}")
        discovery.plugins.append(plugin)
    return discovery


def first_line(error: BaseException) -> str:
    """Return `Type: message`, cut to the message's first line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _announced(
    manager: pluggy.PluginManager, point: EntryPoint, plugin: Plugin
) -> list[Registration]:
    """Load one entry point, call its hooks and return what it announced."""
    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is no output of ours
        module = point.load()
    trace(f"from {getattr(module, '__file__', module)}")
    key = f"{plugin.distribution}:{plugin.name}"
    others = list(manager.get_plugins())
    if module in others:  # two entry points for one module announce the same names once
        return []
    manager.register(module, name=key)
    try:
        manager.check_pending()  # a misspelt hook name would otherwise be silent
        announced: list[Registration] = []
        for kind, hook in HOOKS.items():
            caller = manager.subset_hook_caller(hook, remove_plugins=others)
            caller(register=_collector(kind, plugin, announced))
    except BaseException:
        manager.unregister(name=key)
        raise
    return announced


def _collector(kind: str, plugin: Plugin, announced: list[Registration]) -> hookspecs.Register:
    """Return the `register` function that one hook call of one plugin receives."""

    def register(name: str, target: str, summary: str) -> None:
        if not NAME.fullmatch(name):
            raise PluginError(f"the name {name!r} may hold letters, digits, '_', '-', '.' only")
        if not TARGET.fullmatch(target):
            raise PluginError(f"the target of {name!r} is {target!r}, not 'module:Attribute'")
        trace(f"{kind} '{name}' = {target}")
        announced.append(Registration(kind, name, target, summary, plugin))

    return register


def _plugin(point: EntryPoint) -> Plugin:
    """Describe an entry point that has not been loaded yet."""
    package = point.value.partition(":")[0].partition(".")[0].strip()
    dist = point.dist
    if dist is None:  # built by hand
        return Plugin(point.name, package, package, "0")
    known: Any = dist.metadata  # damaged metadata lack either
    return Plugin(point.name, package, known["Name"] or package, known["Version"] or "0")


def _selected(points: list[EntryPoint]) -> list[EntryPoint]:
    """Apply `MMADAPT_PLUGINS`."""
    value = os.environ.get(ONLY_VARIABLE)
    if value is None:
        return points
    wanted = {_normal(word) for word in value.split(",") if word.strip()}
    chosen = [point for point in points if _words(point) & wanted]
    unknown = wanted - {word for point in points for word in _words(point)}
    if unknown:
        available = ", ".join(sorted({_plugin(point).package for point in points})) or "none"
        raise PluginError(
            f"{ONLY_VARIABLE} names {', '.join(map(repr, sorted(unknown)))}, which is not "
            f"installed; installed plugin packages: {available}"
        )
    return chosen


def _words(point: EntryPoint) -> set[str]:
    """The words that select an entry point in `MMADAPT_PLUGINS`."""
    plugin = _plugin(point)
    return {_normal(word) for word in (plugin.name, plugin.package, plugin.distribution)}


def _normal(word: str) -> str:
    return re.sub(r"[-_.]+", "_", word.strip()).lower()


def trace(text: str) -> None:
    """Print one line to stderr where `MMADAPT_TRACE_PLUGINS=1`."""
    if os.environ.get(TRACE_VARIABLE, "") not in ("", "0"):
        print(f"mmadapt plugins: {text}", file=sys.stderr)


def _trace_call(hook: str, impls: Sequence[pluggy.HookImpl], _: Mapping[str, Any]) -> None:
    for impl in impls:
        trace(f"{hook} -> {impl.plugin_name}")
