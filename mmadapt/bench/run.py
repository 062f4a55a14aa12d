"""Runs a benchmark: every row in turn, round by round, on one LM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, PreTrainedModel

from mmadapt.bench.measure import generation, peak_bytes, seconds
from mmadapt.bench.rows import Result, Row, summarize
from mmadapt.bench.subjects import Fused, Subject, TextOnly, TextOnlyLabelled
from mmadapt.bench.workload import Workload
from mmadapt.composition import fusion_context
from mmadapt.configurations import Configurations, placed
from mmadapt.contracts import Encoder, Fusion
from mmadapt.errors import RecipeError
from mmadapt.lm import load_config, load_lm
from mmadapt.recipe import FusionPart, ResolvedRecipe, resolve
from mmadapt.weights import untrained

CLOCKED = 3  # rounds in which one more step is taken apart, beside those that are timed whole
AGAINST = ("text-only", "text-only-labelled", "prefix", "prefix-lora")


@dataclass(frozen=True)
class Options:
    """How to measure.

    Args:
        workload: sizes of text and media.
        against: rows beside those of the recipes.
        rounds: how often each row is measured, interleaved; the first round after a warm-up.
        decode_batch_sizes: none skips generation.
        random_weights: of the LM, made from its configuration alone.
        device: where to run; default: a GPU if there is one.
        dtype: of the LM; default: the recipe's.
        train: measure training steps.
    """

    workload: Workload = field(default_factory=Workload)
    against: tuple[str, ...] = AGAINST[:3]
    rounds: int = 7
    decode_batch_sizes: tuple[int, ...] = (1, 4)
    random_weights: bool = False
    device: str | None = None
    dtype: str | None = None
    train: bool = True


def bench(
    recipes: Sequence[ResolvedRecipe], options: Options, *, progress: bool = True
) -> list[Result]:
    """Measures the fusions of recipes that share an LM, beside the LM alone.

    Features are random, of the shapes that a cache of the encoder's features would hand out; an
    encoder runs only where a fusion changes it, and has random weights.

    Raises:
        RecipeError: the recipes name different LMs, or a row that is not known.
        ModelError: a model cannot be loaded.
    """
    subjects = subjects_of(recipes, options)
    rows = [Row(subject.name) for subject in subjects]
    total = options.rounds + 1
    with tqdm(total=total * len(rows), disable=not progress, unit="row", leave=False) as bar:
        for number in range(total):
            for subject, row in zip(subjects, rows, strict=True):
                bar.set_description(subject.name)
                _measure(subject, row, options, warm_up=number == 0)
                bar.update()
    return summarize(rows, options.workload.batch_size)


def subjects_of(recipes: Sequence[ResolvedRecipe], options: Options) -> list[Subject]:
    """The LM alone as asked for, the recipes' fusions in order, and prefixes, all on one LM.

    Raises:
        RecipeError: the recipes name different LMs, or a row that is not known.
        ModelError: a model cannot be loaded.
    """
    models = {resolved.recipe.lm.model for resolved in recipes}
    if len(models) != 1:
        raise RecipeError(f"rows are compared on one LM, but the recipes name {_list(models)}")
    if unknown := [name for name in options.against if name not in AGAINST]:
        raise RecipeError(f"--against {unknown[0]}: known are {', '.join(AGAINST)}")
    lm = _lm(recipes[0], options)
    options = _within_vocabulary(options, lm)
    subjects = [*_floors(lm, options), *(_subject(r, lm, options) for r in recipes)]
    return subjects + _prefixes(recipes[0], lm, options)


def _within_vocabulary(options: Options, lm: PreTrainedModel) -> Options:
    """Small LMs know fewer tokens than a workload draws from."""
    embedding: Any = lm.get_input_embeddings()
    known = min(options.workload.vocabulary, embedding.weight.shape[0])
    return replace(options, workload=replace(options.workload, vocabulary=known))


def _measure(subject: Subject, row: Row, options: Options, warm_up: bool) -> None:
    device = subject.lm.device
    if options.train:
        with subject.training() as step:
            if warm_up:
                step()
                row.peak_bytes = peak_bytes(step, device)
                row.adapter_bytes = subject.adapter_bytes
            else:
                step()  # what attaching left cold
                row.steps.append(seconds(step, device))
                if len(row.stages) < CLOCKED:
                    row.stages.append(subject.clock.measure(step))
    new_tokens = 2 if warm_up else options.workload.new_tokens
    for size in options.decode_batch_sizes:
        with subject.generating(size) as generate:
            first, rate = generation(generate, new_tokens, size, device)
        if not warm_up:
            row.first_token.setdefault(size, []).append(first)
            row.tokens_per_second.setdefault(size, []).append(rate)


def _lm(resolved: ResolvedRecipe, options: Options) -> PreTrainedModel:
    part = resolved.recipe.lm
    if options.dtype is not None:
        part = part.model_copy(update={"dtype": options.dtype})
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if not options.random_weights:
        lm = load_lm(part)
    else:
        place = Configurations(resolved.recipe).place(part.model)
        config = load_config(part, place)
        dtype = torch.float32 if part.dtype == "auto" else getattr(torch, part.dtype)
        with torch.device(device):
            lm = AutoModelForCausalLM.from_config(
                config, dtype=dtype, attn_implementation=part.attn_implementation
            )
    lm.requires_grad_(False)
    return cast(PreTrainedModel, cast(Any, lm).to(device))


def _floors(lm: PreTrainedModel, options: Options) -> list[Subject]:
    kinds: dict[str, type[Subject]] = {
        "text-only": TextOnly,
        "text-only-labelled": TextOnlyLabelled,
    }
    return [
        kind(name, lm, options.workload) for name, kind in kinds.items() if name in options.against
    ]


def _subject(
    resolved: ResolvedRecipe, lm: PreTrainedModel, options: Options, lora: Any = None
) -> Fused:
    recipe = resolved.recipe
    files = Configurations(recipe)
    configs = {name: placed(part.config, files) for name, part in resolved.encoders.items()}
    infos = {name: part.cls.info(configs[name]) for name, part in resolved.encoders.items()}
    fusions, served = [], {}
    for part, found in zip(recipe.fusions, resolved.fusions, strict=True):
        name = str(part.name)
        served[name] = list(part.encoders or infos)
        context = fusion_context(name, lm, None, {key: infos[key] for key in served[name]})
        fusions.append(found.cls(found.config, context))
    changes = any(type(fusion).rewrite is not Fusion.rewrite for fusion in fusions)

    def encoders() -> dict[str, Encoder]:
        with untrained():  # what they say is of no account here
            return {name: part.cls(configs[name]) for name, part in resolved.encoders.items()}

    lora = lora or (dict(recipe.lm.lora) if recipe.lm.lora is not None else None)
    return Fused(
        recipe.name,
        lm,
        options.workload,
        fusions,
        infos,
        served,
        encoders if changes else None,
        lora,
    )


def _prefixes(resolved: ResolvedRecipe, lm: PreTrainedModel, options: Options) -> list[Subject]:
    """Projected media tokens in the input, with the first recipe's encoders."""
    subjects: list[Subject] = []
    for name, lora in (("prefix", None), ("prefix-lora", {"r": 8})):
        if name in options.against:
            recipe = resolved.recipe.replaced(name=name, fusion=FusionPart(use="prefix"))
            subjects.append(_subject(resolve(recipe), lm, options, lora))
    return subjects


def _list(models: set[str]) -> str:
    return ", ".join(sorted(models)) or "none"
