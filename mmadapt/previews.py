"""What a dry run sees of the data: which are here, and three samples with their label mask."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from mmadapt.contracts import Source, StreamedSource
from mmadapt.data.build import build_training_source, refuse_stream
from mmadapt.data.mixture import Mixture
from mmadapt.data.origin import located
from mmadapt.data.streams import StreamedMixture
from mmadapt.errors import DataError, MissingDependency, MMAdaptError
from mmadapt.lm import load_tokenizer
from mmadapt.quiet import quiet_transformers
from mmadapt.recipe import ResolvedRecipe
from mmadapt.text import add_special_tokens, preview
from mmadapt.types import Sample

SHOWN = 3


def sources_here(
    recipe: ResolvedRecipe,
) -> tuple[dict[str, Source | StreamedSource], list[str]]:
    """The sources of a recipe whose files are here, by split, and a note on each other one.

    Raises:
        MMAdaptError: data that are here cannot be used.
    """
    found: dict[str, Source | StreamedSource] = {}
    notes = []
    for split, part in recipe.sources.items():
        try:
            found[split] = build_training_source(part, recipe.recipe.data)
            if split == "train":
                refuse_stream(recipe.recipe, found[split])
        except MissingDependency as error:
            notes.append(f"data.{split} was not checked: {error}")
        except DataError as error:
            if Path(error.file).expanduser().exists():
                raise
            notes.append(f"data.{split} is missing here, so it was not checked: {error}")
    return found, notes


def previews(
    recipe: ResolvedRecipe, sources: Mapping[str, Source | StreamedSource], lm: Any
) -> list[str]:
    """Three training samples with their label mask, or why there are none.

    Args:
        recipe: whose head makes texts of them.
        sources: from `sources_here`.
        lm: the language model, on any device; only the size of its vocabulary is read.

    Raises:
        MMAdaptError: a sample cannot be used, or the head not with this tokenizer.
    """
    if "train" not in sources:
        where = "here" if "train" in recipe.sources else "in the recipe"
        return [f"skipped: no training data {where}"]
    try:
        tokenizer = load_tokenizer(recipe.recipe.lm)
    except MMAdaptError as error:
        return [f"skipped: no tokenizer here ({error})"]
    head = recipe.head.cls(recipe.head.config)
    add_special_tokens(tokenizer, head.special_tokens, lm.get_input_embeddings().weight.shape[0])
    head.check_tokenizer(tokenizer)
    shown = []
    for sample in _first(sources["train"]):
        with located(sample), quiet_transformers():  # which warns of long texts
            text = head.encode(sample, tokenizer, with_target=True)
        shown.append(f"{sample['id']}: {preview(text, tokenizer)}")
    return shown


def _first(source: Source | StreamedSource) -> list[Sample]:
    """The first samples; of a mixture one of each part in turn; no more of a stream is read."""
    parts = source.sources if isinstance(source, Mixture | StreamedMixture) else [source]
    rows = [list(islice(part, SHOWN)) for part in parts]
    return [row[k] for k in range(SHOWN) for row in rows if k < len(row)][:SHOWN]
