"""Keys that belong to transformers: `train` (TrainingArguments) and `evaluate.generate`.

transformers is imported inside the functions only; reading a recipe stays light.
"""

from __future__ import annotations

import json
from enum import Enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError
from pydantic import create_model as create_pydantic_model

from mmadapt.errors import Problem
from mmadapt.recipe.node import Node, Steps, find, plain
from mmadapt.recipe.problems import from_pydantic
from mmadapt.recipe.schema import TrainConfig

_MORE_THAN = {"learning_rate": 0, "num_train_epochs": 0}
_AT_LEAST = {
    "max_steps": 1,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "weight_decay": 0,
    "warmup_steps": 0,
    "max_grad_norm": 0,
    "dataloader_num_workers": 0,
    "seed": 0,
}
_ELSEWHERE = {
    "output_dir": "name the folder with --output-dir",
    "resume_from_checkpoint": "continue a run with --resume",
    "hub_token": "a recipe is no place for a secret; run `hf auth login`",
    "do_train": "the command says what is done",
    "do_eval": "the command says what is done",
    "do_predict": "the command says what is done",
    "local_rank": "the launcher sets it",
}
_MEANT = {
    "batch_size": "per_device_train_batch_size",
    "per_device_batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "steps": "max_steps",
    "num_workers": "dataloader_num_workers",
    "warmup_ratio": "warmup_steps",
}
_Count = Annotated[int, Field(ge=1)]
_Size = Annotated[int, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_GENERATE: dict[str, Any] = {
    "max_new_tokens": _Count,
    "max_length": _Count,
    "min_new_tokens": _Size,
    "min_length": _Size,
    "num_beams": _Count,
    "num_return_sequences": Literal[1],
    "no_repeat_ngram_size": _Size,
    "top_k": _Size,
    "top_p": Annotated[float, Field(gt=0, le=1)],
    "min_p": Annotated[float, Field(ge=0, le=1)],
    "temperature": _Positive,
    "repetition_penalty": _Positive,
    "length_penalty": Annotated[float, Field(allow_inf_nan=False)],
    "do_sample": bool,
    "use_cache": bool,
    "early_stopping": Literal[True, False, "never"],
    "stop_strings": str | list[str],
    "max_time": _Positive | None,
    "typical_p": Annotated[float, Field(gt=0, le=1)],
    "epsilon_cutoff": Annotated[float, Field(ge=0, lt=1)],
    "eta_cutoff": Annotated[float, Field(ge=0, lt=1)],
    "guidance_scale": Annotated[float, Field(allow_inf_nan=False)] | None,
    "prompt_lookup_num_tokens": _Count | None,
    "exponential_decay_length_penalty": tuple[_Size, _Positive] | None,
    "sequence_bias": list[tuple[list[_Size], float]] | None,
    "bad_words_ids": list[list[_Size]] | None,
    "suppress_tokens": list[_Size] | None,
    "begin_suppress_tokens": list[_Size] | None,
    "bos_token_id": _Size | None,
    "pad_token_id": _Size | None,
    "eos_token_id": _Size | list[_Size] | None,
    "forced_bos_token_id": _Size | None,
    "forced_eos_token_id": _Size | list[_Size] | None,
    "cache_config": dict[str, Any] | None,
    "max_cache_len": _Count | None,
    "prefill_chunk_size": _Count | None,
    "low_memory": bool,
    "disable_compile": bool,
    "remove_invalid_values": bool,
    "renormalize_logits": bool,
}
_TEXTS_ALONE = "an answer is its text; what generate returns besides is not kept"
_CODE_OF_THE_HUB = "transformers needs code of the hub for it; use num_beams or do_sample"
_AN_OBJECT = "it takes a Python object; call generate of the model with it"
_NOT_GENERATE = {
    **dict.fromkeys(
        (
            "return_dict_in_generate",
            "output_scores",
            "output_logits",
            "output_attentions",
            "output_hidden_states",
        ),
        _TEXTS_ALONE,
    ),
    **dict.fromkeys(
        (
            "constraints",
            "force_words_ids",
            "num_beam_groups",
            "diversity_penalty",
            "penalty_alpha",
            "dola_layers",
        ),
        _CODE_OF_THE_HUB,
    ),
    **dict.fromkeys(
        ("compile_config", "continuous_batching_config", "watermarking_config"), _AN_OBJECT
    ),
    "token_healing": "it would move the prompt's tokens away from the media among them",
    "assistant_early_exit": "it would leave out the layers where media may enter",
    "is_assistant": "it is set for a draft model, which there is none of",
}


def train_problems(node: Node) -> list[Problem]:
    """Check the keys of `train` against `transformers.TrainingArguments`.

    Args:
        node: The whole recipe.

    Returns:
        One problem per key that is unknown, of a wrong type, or set elsewhere.
    """
    own = set(TrainConfig.model_fields)
    keys = [key for key in _keys(node, ("train",)) if key not in own]
    problems = []
    for key in keys:
        place = find(node, ("train", key)).key
        if key in _ELSEWHERE:
            message = f"'{key}' cannot be set here"
            problems.append(place.problem(f"train.{key}", message, _ELSEWHERE[key]))
        elif key in _MEANT:
            hint = f"did you mean '{_MEANT[key]}'?"
            problems.append(place.problem(f"train.{key}", "unknown key", hint))
    rest = [key for key in keys if key not in _ELSEWHERE and key not in _MEANT]
    if rest:
        problems += _validated(node, ("train",), rest, training_arguments(), own)
    return problems


def generate_problems(node: Node) -> list[Problem]:
    """Check the keys of `evaluate.generate` against `transformers.GenerationConfig`.

    Args:
        node: The whole recipe.
    """
    path = ("evaluate", "generate")
    keys = _keys(node, path)
    problems = [
        find(node, (*path, key)).key.problem(
            f"evaluate.generate.{key}", f"'{key}' cannot be set here", _NOT_GENERATE[key]
        )
        for key in keys
        if key in _NOT_GENERATE
    ]
    rest = [key for key in keys if key not in _NOT_GENERATE]
    return problems + (_validated(node, path, rest, generation_config(), ()) if rest else [])


def _keys(node: Node, path: Steps) -> list[str]:
    """Return the keys of a block; none where there is no such block."""
    for step in path:
        if not isinstance(node.value, dict) or step not in node.value:
            return []
        node = node.value[step]
    return list(node.value) if isinstance(node.value, dict) else []


def _validated(
    node: Node, path: Steps, keys: list[str], model: type[BaseModel], also: Any
) -> list[Problem]:
    values = plain(find(node, path))
    text = json.dumps({key: values[key] for key in keys})
    try:
        model.model_validate_json(text, strict=True)
    except ValidationError as error:
        unknown = f"unknown key of transformers.{model.__name__}"
        return from_pydantic(error, node, model, path, unknown, also)
    return []


@cache
def training_arguments() -> type[BaseModel]:
    """Return a model with the fields and types of `TrainingArguments`."""
    from transformers import TrainingArguments

    types = {
        key: _key_type(key, hint)
        for key, hint in get_type_hints(TrainingArguments).items()
        if key not in _ELSEWHERE and key in TrainingArguments.__dataclass_fields__
    }
    return _model("TrainingArguments", types)


@cache
def generation_config() -> type[BaseModel]:
    """Return a model with the keys of `GenerationConfig`, typed where a mistake is likely."""
    from transformers import GenerationConfig
    from transformers.generation import configuration_utils

    caches = getattr(configuration_utils, "ALL_CACHE_IMPLEMENTATIONS", None)
    known = _GENERATE | (
        {"cache_implementation": Literal[(*caches, "paged")] | None} if caches else {}
    )
    names = [name for name in vars(GenerationConfig()) if not name.startswith("_")]
    names = [name for name in names if name not in (*_NOT_GENERATE, "transformers_version")]
    return _model("GenerationConfig", {name: known.get(name, Any) for name in names})


def _key_type(key: str, hint: Any) -> Any:
    """Return what pydantic checks for one key of `TrainingArguments`."""
    if get_origin(hint) in (Union, UnionType):
        members = get_args(hint)
        words = [kind for kind in members if isinstance(kind, type) and issubclass(kind, Enum)]
        if words:  # `IntervalStrategy | str` would accept any text
            hint = words[0]
    try:
        TypeAdapter(hint)
    except (PydanticUserError, NameError):
        return Any
    if key in _AT_LEAST:
        return Annotated[hint, Field(ge=_AT_LEAST[key])]
    if key in _MORE_THAN:
        return Annotated[hint, Field(gt=_MORE_THAN[key], allow_inf_nan=False)]
    return hint


def _model(name: str, types: dict[str, Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {key: (kind, None) for key, kind in types.items()}
    config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())
    return create_pydantic_model(name, __config__=config, **fields)
