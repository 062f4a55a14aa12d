"""From a recipe, or from parts, to a model: everything is checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mmadapt.building import building, fusion_path
from mmadapt.contracts import Encoder, Fusion, FusionContext, Head, encoder_info
from mmadapt.errors import AdapterError, RecipeError
from mmadapt.faults import reason_of
from mmadapt.freezing.unfreeze import unfreeze
from mmadapt.lm import load_lm, load_tokenizer
from mmadapt.model import MultimodalModel
from mmadapt.recipe import LMPart, Recipe, ResolvedRecipe, load_recipe, resolve
from mmadapt.text import add_special_tokens, plain_ids
from mmadapt.weights import hub_is_reachable, offline


def compose(
    recipe: Recipe | ResolvedRecipe | Mapping[str, Any] | str | Path | None = None,
    *,
    overrides: Iterable[str] = (),
    lm: str | Mapping[str, Any] | PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    encoders: Mapping[str, Mapping[str, Any] | Encoder] | None = None,
    fusion: Any = None,
    head: str | Mapping[str, Any] | Head | None = None,
    allow_code: bool = False,
) -> MultimodalModel:
    """Joins a frozen LM and frozen encoders by fusions.

    Args:
        recipe: a path, a dictionary or a loaded recipe; or None, and the parts below. Beside a
            recipe, only objects already built may be given, each in place of the part it names.
        overrides: `key=value` changes to a recipe that is not loaded, as on the command line.
        lm: model id, `lm` block, or a loaded causal LM (then pass `tokenizer` too).
        tokenizer: instead of the LM's own.
        encoders: by name, an `encoders` block's entry or a built `Encoder`.
        fusion: a name, a `fusion` block, a `Fusion` class, or a list of these.
        head: a name, a `head` block or a built `Head`; `caption` by default.
        allow_code: accept `use: module:Class` and `trust_remote_code` from the recipe.

    Raises:
        RecipeError: all mistakes of the recipe at once.
        ModelError: a base model cannot be loaded.

    Example:
        >>> model = compose(
        ...     lm="embedded:lm",
        ...     encoders={"image": {"use": "vit", "model": "embedded:vit"}},
        ...     fusion={"use": "adem", "scales": [[4, 4]], "cls": False, "bottleneck": None},
        ... )
        >>> model.modalities
        ['image']
    """
    if recipe is None:
        if lm is None or encoders is None or fusion is None:
            raise RecipeError("compose needs a recipe, or all of lm=, encoders= and fusion=")
        recipe = _recipe_of_parts(lm, encoders, fusion, head or "caption")
        allow_code = allow_code or _holds_objects(lm, encoders, fusion, head)
    else:
        _refuse_ignored(recipe, list(overrides), lm, encoders, fusion, head)
    if not isinstance(recipe, ResolvedRecipe):
        if not isinstance(recipe, Recipe):
            recipe = load_recipe(recipe, overrides)
        recipe = resolve(recipe, allow_code=allow_code)
    model = _composed(recipe, lm, tokenizer, encoders, head, allow_code)
    for fusion_built in model.fusions.values():
        cast(Fusion, fusion_built).check_start()
    return model


def _composed(
    recipe: ResolvedRecipe,
    lm: Any,
    tokenizer: PreTrainedTokenizerBase | None,
    encoders: Mapping[str, Any] | None,
    head: Any,
    allow_code: bool,
) -> MultimodalModel:
    refuse_reserved_names(recipe.recipe)
    built = {name: part for name, part in (encoders or {}).items() if isinstance(part, Encoder)}
    if unknown := sorted(set(built) - set(recipe.encoders)):
        known = ", ".join(recipe.encoders)
        raise RecipeError(f"encoders= names '{unknown[0]}'; the recipe has {known}")
    return _build(
        recipe,
        lm if isinstance(lm, PreTrainedModel) else load_lm(recipe.recipe.lm, allow_code),
        tokenizer if tokenizer is not None else _load_tokenizer(recipe.recipe.lm, lm, allow_code),
        _build_encoders(recipe, built),
        head if isinstance(head, Head) else _build_head(recipe),
    )


def _build_encoders(recipe: ResolvedRecipe, built: Mapping[str, Encoder]) -> dict[str, Encoder]:
    """The encoders in the recipe's order, those that are built already as they are."""
    encoders = {}
    for name, part in recipe.encoders.items():
        with building(recipe.recipe, ("encoders", name), part):
            encoders[name] = built[name] if name in built else part.cls(part.config)
    return encoders


def _build_head(recipe: ResolvedRecipe) -> Head:
    with building(recipe.recipe, ("head",), recipe.head):
        return cast(Head, recipe.head.cls(recipe.head.config))


def _build(
    resolved: ResolvedRecipe,
    lm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    encoders: Mapping[str, Encoder],
    head: Head,
) -> MultimodalModel:
    recipe = resolved.recipe
    if tokenizer is not None:
        rows = cast(Any, lm.get_input_embeddings()).weight.shape[0]
        add_special_tokens(tokenizer, head.special_tokens, rows)
        head.check_tokenizer(tokenizer)
    fusions: list[Fusion] = []
    served: dict[str, list[str]] = {}
    pairs = zip(recipe.fusions, resolved.fusions, strict=True)
    for index, (part, resolved_part) in enumerate(pairs):
        served[str(part.name)] = list(part.encoders or encoders)
        infos = {name: encoder_info(encoders[name]) for name in served[str(part.name)]}
        context = fusion_context(str(part.name), lm, tokenizer, infos)
        with building(recipe, fusion_path(recipe, index), resolved_part):
            fusions.append(resolved_part.cls(resolved_part.config, context))
    model = MultimodalModel(
        lm,
        tokenizer,
        encoders,
        fusions,
        head,
        served=served,
        recipe=recipe,
        lm_dropout=recipe.lm.dropout,
        lora=recipe.lm.lora,
    )
    unfreeze(model, recipe, {name: encoder.num_levels for name, encoder in encoders.items()})
    return model.place() if model.is_placed else model


def refuse_reserved_names(recipe: Recipe) -> None:
    """Refuses names that torch's own module containers cannot hold.

    Raises:
        RecipeError: an encoder or a fusion is called `keys`, `type`, `train` or the like.
    """
    taken, hint = set(dir(nn.ModuleDict())), "choose another name, such as '{}_1'"
    problems = [
        recipe.problem(("encoders", name), f"'{name}' is reserved", hint.format(name))
        for name in recipe.encoders
        if name in taken
    ]
    problems += [
        recipe.problem(("fusion",), f"the name '{part.name}' is reserved", hint.format(part.name))
        for part in recipe.fusions
        if part.name in taken
    ]
    if problems:
        raise RecipeError(problems)


def _refuse_ignored(
    recipe: Any, overrides: list[str], lm: Any, encoders: Any, fusion: Any, head: Any
) -> None:
    """Refuses arguments that a recipe would win over in silence."""
    if overrides and isinstance(recipe, (Recipe, ResolvedRecipe)):
        raise RecipeError(
            f"overrides ({overrides[0]}) cannot change a loaded recipe; give them to load_recipe, "
            "or compose from its path"
        )
    ignored = {
        "lm": lm is not None and not isinstance(lm, PreTrainedModel),
        "encoders": not all(isinstance(part, Encoder) for part in (encoders or {}).values()),
        "fusion": fusion is not None,
        "head": head is not None and not isinstance(head, Head),
    }
    names = [f"{name}=" for name, is_ignored in ignored.items() if is_ignored]
    if names:
        raise RecipeError(
            f"compose was given a recipe and {', '.join(names)} too; change the recipe (or "
            "overrides=), or leave the recipe out"
        )


def fusion_context(
    name: str, lm: nn.Module, tokenizer: PreTrainedTokenizerBase | None, encoders: Mapping[str, Any]
) -> FusionContext:
    """What a fusion is built for, read off an LM (its weights may be on the meta device)."""
    config = cast(Any, lm).config.get_text_config()
    return FusionContext(
        name,
        config.hidden_size,
        cast(Any, lm).get_input_embeddings().weight.shape[1],
        config.num_hidden_layers,
        config.num_attention_heads,
        encoders,
        tokenize=None if tokenizer is None else lambda text: plain_ids(tokenizer, text),
    )


def load(
    folder: str | Path,
    *,
    revision: str | None = None,
    lm: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    overrides: Iterable[str] = (),
    recipe: Recipe | None = None,
    device: str | torch.device | None = None,
    allow_code: bool = False,
) -> MultimodalModel:
    """Loads an adapter folder, or one from the hub, onto its base models.

    Args:
        folder: what `save_pretrained` or a run wrote, or a hub id.
        revision: branch, tag or commit of an adapter on the hub; default: `main`.
        lm: the base LM if it is loaded already.
        tokenizer: its tokenizer.
        overrides: `key=value` changes to the adapter's recipe, e.g. where the LM lies.
        recipe: in place of the adapter's own, e.g. with another head; the weights must fit it.
        device: where to put the model; default: the CPU, or where `lm.device_map` has the LM.
        allow_code: as in `compose`.

    Raises:
        AdapterError: no adapter there, a damaged one, or one that fits other base models.
    """
    from mmadapt.adapters.checkpoint import RECIPE, check_format, load_into

    path = adapter_folder(folder, revision)
    check_format(path)  # a later mmadapt's recipe may hold what this one does not know
    loaded = load_recipe(path / RECIPE, overrides) if recipe is None else recipe
    resolved = resolve(loaded, allow_code=allow_code)
    model = _composed(resolved, lm, tokenizer, None, None, allow_code)
    load_into(model, path)
    return (model if device is None else model.place(device)).eval()


def adapter_folder(folder: str | Path, revision: str | None = None) -> Path:
    """Where an adapter lies: in a folder, in a run folder, or on the hub, from where it is fetched.

    Args:
        folder: one of these.
        revision: branch, tag or commit of one on the hub.

    Raises:
        AdapterError: there is none, or a revision of a folder is asked for.
    """
    from mmadapt.adapters.checkpoint import BASES, RECIPE, WEIGHTS

    path = Path(folder)
    if not (path / WEIGHTS).is_file() and (path / "adapter" / WEIGHTS).is_file():
        path = path / "adapter"  # a run folder
    is_hub_id = str(folder).count("/") == 1 and (revision is not None or not path.parent.is_dir())
    if not path.exists() and is_hub_id:
        path = _download(str(folder), revision)
    elif revision is not None:
        raise AdapterError(f"{folder} is not on the hub, so it has no revision {revision}")
    if not (path / RECIPE).is_file():
        raise AdapterError(
            f"{folder} is no adapter folder: it has no {RECIPE}"
            + ("" if path.exists() else " (the folder does not exist)")
        )
    if not any((path / name).is_file() for name in (WEIGHTS, BASES)):
        raise AdapterError(
            f"{folder} is no adapter folder: it has no {WEIGHTS}, so it holds a run that has not "
            "finished; finish it with mmadapt train, with --resume where it was cut off"
        )
    return path


def _download(repo_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.safetensors", "*.yaml", "*.json", "*.md"]
        cut_off = not hub_is_reachable()
        with offline(cut_off):
            folder = snapshot_download(
                repo_id, revision=revision, allow_patterns=patterns, local_files_only=cut_off
            )
        return Path(folder)
    except Exception as error:  # those of the transport are of httpx, and no OSError
        raise AdapterError(
            f"{repo_id}{f' ({revision})' if revision else ''} is neither a folder nor an adapter "
            f"that the hub gives: {reason_of(error)}"
        ) from error


def _load_tokenizer(part: LMPart, lm: Any, allow_code: bool) -> PreTrainedTokenizerBase | None:
    if isinstance(lm, PreTrainedModel) and not part.tokenizer and not lm.name_or_path:
        return None
    tokenizer = load_tokenizer(part, allow_code)
    if tokenizer.pad_token_id is None:  # padding is masked, so any id serves
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def _recipe_of_parts(
    lm: Any, encoders: Mapping[str, Any], fusion: Any, head: Any
) -> dict[str, Any]:
    if isinstance(lm, PreTrainedModel):
        lm = {"model": lm.name_or_path or type(lm).__name__}
    fusions = fusion if isinstance(fusion, list) else [fusion]
    return {
        "name": "composed",
        "lm": {"model": lm} if isinstance(lm, str) else dict(lm),
        "encoders": {name: _part(value) for name, value in encoders.items()},
        "fusion": [_part(value) for value in fusions],
        "head": _part(head),
    }


def _part(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"use": value}
    if isinstance(value, Mapping):
        return dict(value)
    cls = value if isinstance(value, type) else type(value)
    config = getattr(value, "config", None)
    options = config.model_dump(mode="json") if isinstance(config, BaseModel) else {}
    return {"use": f"{cls.__module__}:{cls.__qualname__}", **options}


def _holds_objects(lm: Any, encoders: Mapping[str, Any], fusion: Any, head: Any) -> bool:
    parts = [*encoders.values(), *(fusion if isinstance(fusion, list) else [fusion]), head]
    return any(part is not None and not isinstance(part, (str, Mapping)) for part in parts)
