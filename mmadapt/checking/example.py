"""An example of what a recipe trains: its model without weights, a batch of its data's size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch._guards import active_fake_mode
from torch._subclasses.fake_tensor import unset_fake_temporarily
from transformers import AutoModelForCausalLM

from mmadapt.building import building, fusion_path
from mmadapt.checking.previews import sources_here
from mmadapt.composition import fusion_context
from mmadapt.configurations import Configurations, placed
from mmadapt.contracts import Encoder, Source, encoder_info
from mmadapt.data.build import training_view
from mmadapt.errors import MMAdaptError
from mmadapt.freezing.unfreeze import unfreeze
from mmadapt.lm import load_config, load_tokenizer
from mmadapt.model import MultimodalModel
from mmadapt.recipe import LMPart, ResolvedRecipe
from mmadapt.text import add_special_tokens
from mmadapt.types import IGNORE_INDEX, MediaInputs

_BATCH_SIZE = 8  # of transformers.TrainingArguments
_LOOKED_AT = 32  # samples
_LONGEST = 512  # tokens, where neither data nor recipe say more


@dataclass(frozen=True)
class Batch:
    """The batch that is counted.

    Args:
        size: samples of one forward.
        text_tokens: of a sample, what a fusion inserts not counted.
        labelled_tokens: of these, how many are learnt.
        modalities: the media of each sample; None: of every encoder one.
    """

    size: int
    text_tokens: int
    labelled_tokens: int
    modalities: frozenset[str] | None = None


def untrained_model(resolved: ResolvedRecipe, tokenize: Any = None) -> MultimodalModel:
    """The composed model with random weights; imagined ones inside `imagined()`."""
    recipe = resolved.recipe
    files = Configurations(recipe)
    lm = _untrained_lm(recipe.lm, files)
    encoders = {}
    for name, part in resolved.encoders.items():
        with building(recipe, ("encoders", name), part):
            encoders[name] = part.cls(placed(part.config, files))
    served = {str(part.name): list(part.encoders or encoders) for part in recipe.fusions}
    fusions = []
    for index, (name, part) in enumerate(zip(served, resolved.fusions, strict=True)):
        context = _context(name, lm, {n: encoders[n] for n in served[name]}, tokenize)
        with building(recipe, fusion_path(recipe, index), part):
            fusions.append(part.cls(part.config, context))
    head = resolved.head.cls(resolved.head.config)
    options = {"lm_dropout": recipe.lm.dropout, "lora": recipe.lm.lora}
    model = MultimodalModel(
        lm, None, encoders, fusions, head, served=served, recipe=recipe, **cast(Any, options)
    )
    unfreeze(model, recipe, {name: encoder.num_levels for name, encoder in encoders.items()})
    return model


def example_media(encoder: Encoder, batch_size: int) -> MediaInputs:
    """What the collator makes of one noisy medium a sample; imagined inside `imagined()`."""
    with unset_fake_temporarily():
        found = encoder.processor({"type": encoder.modality, "value": _noise(encoder)})
        values, mask = found if isinstance(found, tuple) else (found, None)
        item = torch.zeros(batch_size, len(values), dtype=torch.long)
        masks = None if mask is None else mask.expand(batch_size, *mask.shape).contiguous()
    batch: MediaInputs = {"values": _repeated(values, batch_size), "item": item}
    if masks is not None:  # with values, as an encoder may ask how long its sounds are
        batch["mask"] = masks
    return batch


def typical_batches(resolved: ResolvedRecipe) -> tuple[list[Batch], str]:
    """The batches of a training step, one of each kind, and where their lengths come from.

    Args:
        resolved: the recipe; its first training samples are tokenised where data and tokenizer are
            here. Those with the same media are of a kind, of which the longest counts; kinds that
            are smaller than another in every way are left out.
    """
    train = resolved.recipe.train.arguments
    size = int(train.get("per_device_train_batch_size", _BATCH_SIZE))
    lengths = _lengths(resolved)
    if lengths:
        kinds: dict[frozenset[str], Batch] = {}
        for tokens, labelled, media in lengths:
            known = kinds.get(media, Batch(size, 0, 0, media))
            longest = max(known.text_tokens, tokens), max(known.labelled_tokens, labelled)
            kinds[media] = Batch(size, *longest, media)
        found = [one for one in kinds.values() if not _within_another(one, kinds.values())]
        return found, f"the longest of the first {len(lengths)} samples"
    limit = resolved.recipe.data.max_length
    tokens = limit or _LONGEST
    why = "data.max_length" if limit else "taken for granted"
    return [Batch(size, tokens, max(tokens // 2, 1))], f"{why}, half of it learnt: no data here"


def _within_another(one: Batch, batches: Iterable[Batch]) -> bool:
    """Whether a batch has no more of anything than another."""
    return any(
        one is not other
        and (one.modalities or frozenset()) <= (other.modalities or frozenset())
        and one.text_tokens <= other.text_tokens
        and one.labelled_tokens <= other.labelled_tokens
        for other in batches
    )


def _lengths(resolved: ResolvedRecipe) -> list[tuple[int, int, frozenset[str]]]:
    """Tokens, learnt ones and media of the first training samples; none where these are not."""
    try:
        source = sources_here(resolved)[0].get("train")
        tokenizer = load_tokenizer(resolved.recipe.lm)
        head = resolved.head.cls(resolved.head.config)
        add_special_tokens(tokenizer, head.special_tokens, len(tokenizer) + 64)
        if not isinstance(source, Source):
            return []
        view = training_view(source)
        found: list[tuple[int, int, frozenset[str]]] = []
        for number in range(min(len(view), _LOOKED_AT)):
            sample = view[number]
            text = head.encode(sample, tokenizer, with_target=True)
            learnt = sum(label != IGNORE_INDEX for label in text.labels)
            media = frozenset(part["type"] for part in sample.get("media") or [])
            found.append((len(text.input_ids), learnt, media))
        return found
    except MMAdaptError:
        return []


def _untrained_lm(part: LMPart, files: Configurations) -> Any:
    config = load_config(part, files.place(part.model))
    dtype = getattr(config, "dtype", None) if part.dtype == "auto" else part.dtype
    options = {"attn_implementation": part.attn_implementation} if part.attn_implementation else {}
    named = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    return AutoModelForCausalLM.from_config(config, dtype=named or torch.float32, **options)


def _context(name: str, lm: nn.Module, encoders: Mapping[str, Encoder], tokenize: Any) -> Any:
    infos = {key: encoder_info(encoder) for key, encoder in encoders.items()}
    return replace(fusion_context(name, lm, None, infos), tokenize=tokenize)


def _noise(encoder: Encoder) -> Any:
    """Ten seconds of sound, a picture, or a clip."""
    rng = np.random.default_rng(0)
    if encoder.modality == "audio":
        return rng.standard_normal(160_000).astype(np.float32), 16_000
    frames = () if encoder.modality == "image" else (max(encoder.num_items, 8),)
    return rng.integers(0, 256, (*frames, 256, 256, 3), dtype=np.uint8)


def _repeated(values: Tensor, count: int) -> Tensor:
    """(count, *shape) copies, imagined where values of floats are."""
    if active_fake_mode() is None:
        return values.expand(count, *values.shape).contiguous()
    return torch.empty(count, *values.shape, dtype=values.dtype)


def step_text(model: MultimodalModel, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and labels (b, s), real ones, of which one sample is a token shorter."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    with unset_fake_temporarily():
        ids = torch.arange(batch.size * batch.text_tokens) % min(vocabulary, 1000)
        ids = ids.reshape(batch.size, batch.text_tokens)
        mask = torch.ones_like(ids, dtype=torch.bool)
        mask[0, -1] = batch.text_tokens < 2
        labels = ids.clone()
        labels[:, : -batch.labelled_tokens] = IGNORE_INDEX
    return ids, mask, labels
