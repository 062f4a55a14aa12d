"""What a dry run sees of the data: which are here, and three samples with their label mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmadapt.contracts import EncoderInfo, Source, StreamedSource
from mmadapt.data.build import build_training_source, refuse_stream
from mmadapt.data.items import Item, Medium
from mmadapt.data.length import InsertedTokens, LengthLimit, lm_limit
from mmadapt.data.mixture import Mixture
from mmadapt.data.origin import located
from mmadapt.data.streams import StreamedMixture
from mmadapt.errors import DataError, MissingDependency, MMAdaptError
from mmadapt.lm import load_tokenizer
from mmadapt.quiet import quiet_transformers
from mmadapt.recipe import ResolvedRecipe
from mmadapt.text import EncodedText, add_special_tokens, preview, special_prefix
from mmadapt.types import IGNORE_INDEX, Sample

SHOWN = 3
UNKNOWN_SHARE = 0.25  # of what the previews learn


@dataclass(frozen=True)
class Missing:
    """A split whose data are not here.

    Args:
        reason: a few words.
        note: what was looked for, where, and what came of it.
    """

    reason: str
    note: str


def sources_here(
    recipe: ResolvedRecipe,
) -> tuple[dict[str, Source | StreamedSource], list[Missing]]:
    """The sources of a recipe whose files are here, by split, and what is said of the others.

    Raises:
        MMAdaptError: data that are here cannot be used.
    """
    found: dict[str, Source | StreamedSource] = {}
    missing = []
    for split, part in recipe.sources.items():
        try:
            found[split] = build_training_source(part, recipe.recipe.data)
            if split == "train":
                refuse_stream(recipe.recipe, found[split])
        except MissingDependency as error:
            note = f"data.{split} was not checked: {error}"
            missing.append(Missing(f"data.{split}: {error}", note))
        except DataError as error:
            if Path(error.file).expanduser().exists():
                raise
            missing.append(_missing(split, error))
    return found, missing


def _missing(split: str, error: DataError) -> Missing:
    place = Path(error.file).expanduser()
    note = f"data.{split} is missing here, so it was not checked: {error}"
    if not place.is_absolute():
        note += f"; looked for in the current folder, {Path.cwd()}"
    return Missing(f"data.{split} is missing: {error.file}", note)


def previews(
    recipe: ResolvedRecipe,
    sources: Mapping[str, Source | StreamedSource],
    lm: Any,
    infos: Mapping[str, EncoderInfo],
    inserted: Callable[[], InsertedTokens],
) -> list[str]:
    """Three training samples with their label mask, or why there are none.

    Args:
        recipe: whose head makes texts of them.
        sources: from `sources_here`.
        lm: the language model, on any device; only its configuration and the size of its
            vocabulary are read.
        infos: what each encoder says of itself.
        inserted: counts what the fusions put into a text; asked where there are samples.

    Raises:
        MMAdaptError: a sample cannot be used or is too long for the LM, or the head not with this
            tokenizer.
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
    data, prefix = recipe.recipe.data, len(special_prefix(tokenizer))
    limit = LengthLimit(data.max_length or lm_limit(lm.config), data.too_long, inserted())
    shown, learnt = [], list[int]()
    for sample in _first(sources["train"]):
        with located(sample), quiet_transformers():  # which warns of long texts
            text = head.encode(sample, tokenizer, with_target=True)
            item = _item(recipe, infos, sample, text)
            left_out = data.too_long == "skip" and limit.excess(item) > 0
            if not left_out:
                limit.fitted(item, prefix)
        note = " (too long: left out)" if left_out else ""
        shown.append(f"{sample['id']}: {preview(text, tokenizer)}{note}")
        learnt += [label for label in text.labels if label != IGNORE_INDEX]
    return [*shown, *_unknown(learnt, tokenizer)]


def _item(
    recipe: ResolvedRecipe, infos: Mapping[str, EncoderInfo], sample: Sample, text: EncodedText
) -> Item:
    """A sample as training has it, its media counted but not read.

    As in training, nothing is known of tokens that follow the file.
    """
    media = []
    for file, part in enumerate(sample.get("media") or []):
        for name, encoder in recipe.encoders.items():
            if encoder.cls.modality == part["type"] and not part.get("optional"):
                media.append(Medium(name, file, torch.empty(infos[name].num_items, 0)))
    ids, labels = (np.array(x, dtype=np.int64) for x in (text.input_ids, text.labels))
    positions = np.array(text.media_positions, dtype=np.int64)
    return Item(0, sample["id"], ids, labels, positions, tuple(media))


def _unknown(learnt: list[int], tokenizer: Any) -> list[str]:
    """A warning where much of what is learnt is a word that the tokenizer does not know."""
    share = learnt.count(tokenizer.unk_token_id) / max(1, len(learnt))
    if tokenizer.unk_token_id is None or share <= UNKNOWN_SHARE:
        return []
    return [
        f"warning: {share:.0%} of what is learnt here is {tokenizer.unk_token}: this LM does not "
        "know those words; use texts in its words, or another LM"
    ]


def _first(source: Source | StreamedSource) -> list[Sample]:
    """The first samples; of a mixture one of each part in turn; no more of a stream is read."""
    parts = source.sources if isinstance(source, Mixture | StreamedMixture) else [source]
    rows = [list(islice(part, SHOWN)) for part in parts]
    return [row[k] for k in range(SHOWN) for row in rows if k < len(row)][:SHOWN]
