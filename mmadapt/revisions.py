"""Which commit of a hub repository a run used: pinned in its recipe, so that it can be repeated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmadapt.recipe import Recipe, ResolvedPart, ResolvedRecipe
from mmadapt.weights import hub_is_reachable

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_SECONDS = 10.0  # that the hub may take to name a commit
_REVISIONS = ("revision", "tokenizer_revision")  # the keys that name one


@dataclass(frozen=True)
class _Repository:
    """What a part of a recipe names on the hub; `key` is that of its revision."""

    key: str
    name: str
    revision: str | None
    kind: str


def pinned(resolved: ResolvedRecipe, known: Mapping[str, str] | None = None) -> ResolvedRecipe:
    """The recipe with the commit of every hub model, tokenizer and dataset as its `revision`.

    Folders, built-in weights and what the hub does not tell stay as they are: the fingerprints of
    the weights are saved with the adapter anyway.

    Args:
        resolved: a recipe that may name branches, tags, or nothing.
        known: commits of an earlier start of the same run, from `revisions`, by key.

    Example:
        >>> from mmadapt.recipe import load_and_resolve
        >>> recipe = load_and_resolve("recipes/video_caption_adem.yaml")
        >>> pinned(recipe) is recipe  # nothing of it is on the hub
        True
    """
    found = {}
    for place in _repositories(resolved):
        if place.revision and _COMMIT.fullmatch(place.revision):
            continue
        commit = (known or {}).get(place.key) or commit_of(place.name, place.revision, place.kind)
        if commit is not None:
            found[place.key] = commit
    return _with_revisions(resolved, found) if found else resolved


def revisions(recipe: Recipe) -> dict[str, str]:
    """Every revision that a recipe names, by dotted key."""
    return dict(_named(recipe.model_dump(mode="json"), ""))


def commit_of(name: str, revision: str | None = None, kind: str = "model") -> str | None:
    """The commit that a branch or tag of a hub repository stands for.

    Args:
        name: of the repository.
        revision: branch or tag; default: `main`.
        kind: `model` or `dataset`.

    Returns:
        The hub's answer; without one, what was downloaded last; None where neither is known.
    """
    from huggingface_hub import HfApi

    if hub_is_reachable():
        try:
            ask = HfApi().dataset_info if kind == "dataset" else HfApi().model_info
            return ask(name, revision=revision, timeout=_SECONDS).sha
        except Exception:  # of httpx too, which are no OSError; the download will say why
            pass
    return _commit_in_cache(name, revision or "main", kind)


def _commit_in_cache(name: str, revision: str, kind: str) -> str | None:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)
    try:
        commit = (folder / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if (folder / "snapshots" / commit).is_dir() else None


def _repositories(resolved: ResolvedRecipe) -> Iterator[_Repository]:
    lm = resolved.recipe.lm
    if _is_hub_id(lm.model):
        yield _Repository("lm.revision", lm.model, lm.revision, "model")
    if _is_hub_id(lm.tokenizer):
        tokenizer = str(lm.tokenizer)
        yield _Repository("lm.tokenizer_revision", tokenizer, lm.tokenizer_revision, "model")
    parts = [(f"encoders.{name}", part, "model") for name, part in resolved.encoders.items()]
    for split, part in resolved.sources.items():
        if part.parts:
            named = enumerate(part.parts)
            parts += [(f"data.{split}.{index}", one, "dataset") for index, one in named]
        else:
            parts.append((f"data.{split}", part, "dataset"))
    for key, part, kind in parts:
        name = getattr(part.config, "model" if kind == "model" else "path", None)
        if _is_hub_id(name) and hasattr(part.config, "revision"):
            yield _Repository(f"{key}.revision", str(name), part.config.revision, kind)


def _is_hub_id(name: Any) -> bool:
    return isinstance(name, str) and bool(_HUB_ID.fullmatch(name)) and not Path(name).exists()


def _with_revisions(resolved: ResolvedRecipe, commits: Mapping[str, str]) -> ResolvedRecipe:
    """Writes commits into the recipe and into the options of its parts."""
    recipe = resolved.recipe

    def written(part: Any, key: str) -> Any:
        update = {
            name: commits[f"{key}.{name}"] for name in _REVISIONS if f"{key}.{name}" in commits
        }
        return part.model_copy(update=update) if update else part

    def built(part: ResolvedPart, key: str) -> ResolvedPart:
        inner = tuple(built(one, f"{key}.{index}") for index, one in enumerate(part.parts))
        return replace(part, config=written(part.config, key), parts=inner)

    splits = {
        split: [written(one, f"data.{split}.{index}") for index, one in enumerate(part)]
        if isinstance(part, list)
        else written(part, f"data.{split}")
        for split, part in recipe.data.sources.items()
    }
    encoders = {name: written(part, f"encoders.{name}") for name, part in recipe.encoders.items()}
    sources = {split: built(part, f"data.{split}") for split, part in resolved.sources.items()}
    changes = {
        "lm": written(recipe.lm, "lm"),
        "encoders": encoders,
        "data": recipe.data.model_copy(update=splits),
    }
    return replace(
        resolved,
        recipe=recipe.model_copy(update=changes),
        encoders={key: built(part, f"encoders.{key}") for key, part in resolved.encoders.items()},
        sources=sources,
    )


def _named(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name in _REVISIONS:
            if isinstance(value.get(name), str):
                yield f"{key}.{name}", value[name]
        for name, inner in value.items():
            yield from _named(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _named(inner, f"{key}.{index}")
