"""From a model id in a recipe to loaded weights, with one clear error when that fails."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

from mmadapt.errors import ModelError
from mmadapt.faults import explanation, reason_of
from mmadapt.registry import get_registry

T = TypeVar("T")
_LARGE = 2**30  # bytes
_PATIENCE = 5.0  # seconds that the hub may take to answer
_CODE = (
    "it brings Python code of its own that would have to be executed; for an LM that you trust, "
    "set lm.trust_remote_code: true and pass --allow-code"
)
_SMALLER = "use a smaller model, set lm.dtype: bfloat16, or end what else uses the memory"
_untrained: ContextVar[bool] = ContextVar("untrained", default=False)


def resolve_model(model: str) -> str:
    """Turns `scheme:name` into a folder through the plugin that registered the scheme.

    Args:
        model: a hub id, a local folder, or an id such as `embedded:vit`.

    Returns:
        A local folder, or the id unchanged for the hub.

    Raises:
        PluginError: nobody registered the scheme.
    """
    scheme, separator, name = model.partition(":")
    if not separator or os.path.exists(model) or len(scheme) < 2:  # a Windows drive is no scheme
        return model
    return str(get_registry().get("weights", scheme).load()(name))


def load_pretrained(load: Callable[..., T], model: str, **options: Any) -> T:
    """Calls a `from_pretrained` and turns every way it can fail into one error.

    Args:
        load: a `from_pretrained` of transformers.
        model: the id as the recipe says it.
        options: handed on; values that are None are left out.

    Raises:
        ModelError: the folder is missing or damaged, the hub refuses or cannot be reached.
    """
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    place = resolve_model(model)
    if _is_path(model) and not os.path.isdir(place):
        raise ModelError(
            f"model folder {model} does not exist; check lm.model or the encoder's model"
        )
    options = {key: value for key, value in options.items() if value is not None}
    if getattr(getattr(load, "__self__", None), "__name__", "").startswith("Auto"):
        options.setdefault("trust_remote_code", False)  # left open, transformers asks at a terminal
    is_cut_off = not os.path.isdir(place) and not hub_is_reachable()
    if _untrained.get() and _loads_weights(load):
        return cast(T, _from_configuration(load, place, options))
    try:
        with _bar_for_large_files(place), offline(is_cut_off):
            return load(place, **options)
    except Exception as error:
        cause = _hub_cause(error, (GatedRepoError, RepositoryNotFoundError, HfHubHTTPError))
        if isinstance(cause, GatedRepoError):
            advice = "the hub asks for permission: accept its terms there, then run `hf auth login`"
        elif isinstance(cause, RepositoryNotFoundError):
            advice = "the hub does not know it (or it is private: run `hf auth login`)"
        elif is_cut_off or cause is not None or _is_unreachable(error):
            advice = "the hub cannot be reached; give the path of a downloaded folder instead"
        elif "trust_remote_code" in str(error):
            advice = _CODE
        elif (fault := explanation(error, _SMALLER)) is not None:
            advice = fault
        elif isinstance(error, (OSError, ValueError, KeyError, ImportError)):
            advice = reason_of(error)
        else:
            kind, reason = type(error).__name__, reason_of(error)
            said = kind if reason == kind else f"{kind}: {reason}"
            advice = f"its files are damaged: {said}"
        raise ModelError(f"model {model} cannot be loaded: {advice}") from error


@cache
def hub_is_reachable() -> bool:
    """Whether the hub answers; asked once, because its client waits half a minute for each file."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    place = urlsplit(constants.ENDPOINT)
    if getproxies():  # they know the way, not we
        return True
    try:
        port = place.port or (80 if place.scheme == "http" else 443)
        socket.create_connection((place.hostname or "", port), timeout=_PATIENCE).close()
    except OSError:
        return False
    return True


@contextmanager
def offline(is_cut_off: bool) -> Iterator[None]:
    """The hub's client reads what was downloaded before, and waits for nothing."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or is_cut_off
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def untrained() -> Iterator[None]:
    """Encoders that are loaded inside have random weights, made from their configurations alone."""
    token = _untrained.set(True)
    try:
        yield
    finally:
        _untrained.reset(token)


def _loads_weights(load: Callable[..., Any]) -> bool:
    """Whether it is the `from_pretrained` of a model, not of a configuration or a processor."""
    from transformers import AutoModel, PreTrainedModel

    owner = getattr(load, "__self__", None)
    return owner is AutoModel or (isinstance(owner, type) and issubclass(owner, PreTrainedModel))


def _from_configuration(load: Any, place: str, options: dict[str, Any]) -> Any:
    """What a model's `from_pretrained` returns for these options, with random weights."""
    from transformers import AutoConfig

    wants_report = options.pop("output_loading_info", False)
    config = options.pop("config", None) or AutoConfig.from_pretrained(place)
    for name in ("revision", "key_mapping", "trust_remote_code"):  # of files that are not read
        options.pop(name, None)
    make = getattr(load.__self__, "from_config", None) or load.__self__._from_config
    model = make(config, **options)
    return (model, {"missing_keys": []}) if wants_report else model


@contextmanager
def _bar_for_large_files(place: str) -> Iterator[None]:
    """Shows transformers' bar only where loading lasts long enough to be worth one."""
    from transformers.utils import logging

    small = os.path.isdir(place) and sum(f.stat().st_size for f in os.scandir(place)) < _LARGE
    if not (small and logging.is_progress_bar_enabled()):
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _is_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1


def _hub_cause(
    error: BaseException | None, kinds: tuple[type[BaseException], ...]
) -> BaseException | None:
    while error is not None:
        if isinstance(error, kinds):
            return error
        error = error.__cause__ or error.__context__
    return None


def _is_unreachable(error: BaseException) -> bool:
    return bool(re.search(r"couldn't connect|offline|connection|resolve host", str(error), re.I))
