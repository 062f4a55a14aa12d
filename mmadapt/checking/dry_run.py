"""The dry run: a recipe checked end to end without loading any weights."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from mmadapt.adapters.start import start_folder
from mmadapt.attach import Attachment
from mmadapt.building import building, fusion_path
from mmadapt.checking.previews import previews, sources_here
from mmadapt.checking.towers import meta_towers, unfrozen_sizes
from mmadapt.composition import fusion_context, refuse_reserved_names
from mmadapt.configurations import Configurations, placed
from mmadapt.contracts import EncoderInfo, Fusion
from mmadapt.data.length import InsertedTokens
from mmadapt.errors import MMAdaptError, PluginError, RecipeError
from mmadapt.features.refusals import refuse_recipe
from mmadapt.inserted import inserted_by
from mmadapt.lm import load_config, load_tokenizer
from mmadapt.lora import add_lora
from mmadapt.recipe import Recipe, ResolvedRecipe, resolve
from mmadapt.report import Report
from mmadapt.text import plain_ids, word_ids
from mmadapt.types import Features, State, TextInputs
from mmadapt.weights import untrained

_TEXT, _UNKNOWN_TOKENS = 16, 16  # text positions, and tokens of an encoder that cannot say its grid
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def dry_run(recipe: Recipe | ResolvedRecipe, allow_code: bool = False) -> Report:
    """Builds everything but the weights on the meta device and reports what training would meet.

    Raises:
        RecipeError: every mistake in the recipe, and every joint that does not fit.
    """
    if isinstance(recipe, Recipe):
        recipe = resolve(recipe, allow_code=allow_code)
    parts = recipe.recipe
    refuse_reserved_names(parts)
    files = Configurations(parts)
    lm = _meta_lm(parts, files)
    configs = {name: placed(part.config, files) for name, part in recipe.encoders.items()}
    infos = _infos(recipe, configs)
    tokenize, notes = _tokenizer(parts, files)
    fusions = _meta_fusions(recipe, lm, infos, tokenize)
    if parts.data.cache:
        refuse_recipe(parts, fusions)
    trainable, kinds = _lora(parts, lm), Counter[str]()
    if trainable:
        kinds["lm: LoRA"] = sum(trainable.values())
    for fusion in fusions:
        for name, parameter in fusion.named_parameters():
            trainable[f"fusions.{fusion.name}.{name}"] = parameter.numel()
            kinds[f"{fusion.name}: {fusion.kind_of(name)}"] += parameter.numel()
    towers = meta_towers(recipe, configs)
    unknown = [name for name in configs if name not in towers]
    notes += [
        f"encoder '{name}' cannot be counted without its weights, so there is no total"
        for name in unknown
    ]
    whole = [lm, *towers.values(), *fusions]
    total = sum(p.numel() for part in whole for p in part.parameters())
    for name, size in unfrozen_sizes(parts, towers, infos, fusions).items():
        trainable[name] = size
        kinds[f"{name.split('.')[1]}: unfrozen blocks"] += size
    joints = _joints(parts, lm, fusions, infos)
    sources, missing = sources_here(recipe)
    stopping = _start_errors(parts, fusions)
    lm_bytes = sum(p.numel() for p in lm.parameters()) * _BYTES.get(parts.lm.dtype, 4)
    adapter = sum(trainable.values()) * 4
    return Report(
        parts.name,
        trainable,
        dict(kinds),
        sum(trainable.values()),
        None if unknown else total,
        joints,
        previews(recipe, sources, lm, infos, partial(_inserted, recipe, lm, infos, tokenize)),
        [*parts.departures.values(), *(text for fusion in fusions for text in fusion.departures())],
        any(type(fusion).departures is not Fusion.departures for fusion in fusions),
        {"lm": lm_bytes, "adapter": adapter, "gradients": adapter, "optimiser": 2 * adapter},
        [
            *files.notes(),
            *notes,
            *(one.note for one in missing),
            *(f"training will not start: {error}" for error in stopping),
        ],
        [
            *([] if "train" in recipe.sources else ["the recipe has no data.train"]),
            *(one.reason for one in missing),
            *(str(error).splitlines()[0].partition("; ")[0] for error in stopping),
        ],
    )


def _infos(recipe: ResolvedRecipe, configs: Mapping[str, Any]) -> dict[str, EncoderInfo]:
    infos = {}
    for name, part in recipe.encoders.items():
        with building(recipe.recipe, ("encoders", name), part):
            infos[name] = part.cls.info(configs[name])
    return infos


def _tokenizer(recipe: Recipe, files: Configurations) -> tuple[Any, list[str]]:
    """The LM's tokenizer, or, where no tokenizer is at hand, a stand-in that says so."""
    part = recipe.lm
    message = "no tokenizer here: what fusions write into the text counts a token for each word"
    if part.model in files.used and part.tokenizer is None:
        return word_ids, [message]
    try:
        tokenizer = load_tokenizer(part)
    except MMAdaptError:
        return word_ids, [message]
    return lambda text: plain_ids(tokenizer, text), []


def _meta_lm(recipe: Recipe, files: Configurations) -> nn.Module:
    part = recipe.lm
    place = files.place(part.model)
    config = load_config(part, place)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # sdpa looks into the mask to see whether anything is padded; meta tensors hold nothing.
        return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def _lora(recipe: Recipe, lm: nn.Module) -> dict[str, int]:
    """Sizes of what `lm.lora` adds to the LM, by name; it is added."""
    if recipe.lm.lora is None:
        return {}
    with torch.device("meta"):
        add_lora(lm, recipe.lm.lora)
    return {f"lm.{name}": p.numel() for name, p in lm.named_parameters() if p.requires_grad}


def _inserted(
    recipe: ResolvedRecipe, lm: nn.Module, infos: Mapping[str, EncoderInfo], tokenize: Any
) -> InsertedTokens:
    """What the fusions put into a text, counted as in training; nothing where that cannot be."""
    served = {str(part.name): list(part.encoders or infos) for part in recipe.recipe.fusions}
    try:
        with untrained():
            made = _meta_fusions(recipe, lm, infos, tokenize, "cpu")
    except (PluginError, RuntimeError, ValueError, TypeError):  # one that needs the LM's weights
        return InsertedTokens()
    return inserted_by({fusion.name: fusion.eval() for fusion in made}, served, infos)


def _meta_fusions(
    recipe: ResolvedRecipe,
    lm: nn.Module,
    infos: Mapping[str, EncoderInfo],
    tokenize: Any,
    device: str = "meta",
) -> list[Fusion]:
    fusions = []
    parts = recipe.recipe
    for index, (part, resolved) in enumerate(zip(parts.fusions, recipe.fusions, strict=True)):
        served = {name: infos[name] for name in part.encoders or infos}
        path = fusion_path(parts, index)
        with building(parts, path, resolved), torch.device(device):
            context = fusion_context(str(part.name), lm, None, served)
            context = replace(context, tokenize=tokenize)
            fusions.append(resolved.cls(resolved.config, context))
    return fusions


def _start_errors(recipe: Recipe, fusions: Sequence[Fusion]) -> list[MMAdaptError]:
    """What training would miss and a dry run does not: stages are checked before any is trained."""
    found = []
    checks: list[Callable[[], object]] = [partial(start_folder, recipe)]
    for check in checks + [fusion.check_start for fusion in fusions]:
        try:
            check()
        except MMAdaptError as error:
            found.append(error)
    return found


def _joints(
    recipe: Recipe, lm: nn.Module, fusions: Sequence[Fusion], infos: Mapping[str, EncoderInfo]
) -> list[tuple[str, list[int]]]:
    """Runs one forward on the meta device and writes down the shapes that pass between parts."""
    joints: list[tuple[str, list[int]]] = []
    ids = torch.zeros(2, _TEXT, dtype=torch.long, device="meta")
    text = TextInputs(ids, ids.bool(), None, ids[:, :1])
    by_fusion: dict[str, dict[str, Features]] = {}
    attachment = None
    try:
        for part, fusion in zip(recipe.fusions, fusions, strict=True):
            by_fusion[fusion.name] = {}
            for name in part.encoders or infos:
                features = _meta_features(infos[name], fusion)
                joints.append((f"{name} -> {fusion.name}", list(features.levels[0].shape)))
                by_fusion[fusion.name][name] = fusion.reduce(features)
        for fusion in fusions:
            text = fusion.embeds(text, by_fusion[fusion.name])
        state = State(text)
        for fusion in fusions:
            memory = fusion.prepare(by_fusion[fusion.name], state)
            state.memories[fusion.name] = memory
            for path, leaf in torch.utils._pytree.tree_leaves_with_path(memory):
                if isinstance(leaf, Tensor):
                    name = torch.utils._pytree.keystr(path)
                    joints.append((f"{fusion.name} memory{name}", list(leaf.shape)))
        joints.append(("text with inserted tokens", list(text.input_ids.shape)))
        attachment = Attachment(lm, fusions)
        with torch.no_grad(), attachment.bind(state):
            logits = lm(input_ids=text.input_ids, use_cache=False).logits
        joints.append(("logits", list(logits.shape)))
    except (RuntimeError, ValueError, IndexError) as error:
        last = joints[-1][0] if joints else "the first joint"
        problem = recipe.problem(("fusion",), f"shapes do not fit after {last}: {error}")
        raise RecipeError([problem]) from error
    finally:
        if attachment is not None:
            attachment.detach()
    return joints


def _meta_features(info: EncoderInfo, fusion: Fusion) -> Features:
    patches = info.grid[0] * info.grid[1] if info.grid else _UNKNOWN_TOKENS
    shape = (2, info.num_items, info.num_prefix_tokens + patches)
    level = torch.empty(*shape, info.hidden_size, device="meta")
    return Features(
        tuple(level for _ in fusion.levels(info)),
        torch.ones(shape, dtype=torch.bool, device="meta"),
        torch.zeros(shape[:2], dtype=torch.long, device="meta"),
        info.num_prefix_tokens,
        info.grid,
    )
