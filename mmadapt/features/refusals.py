"""Where features cannot be cached exactly, said before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from mmadapt.contracts import Encoder, Fusion, encoder_info
from mmadapt.data.features.rows import cut_row
from mmadapt.errors import Problem, RecipeError
from mmadapt.features.settings import Nameless, settings_of
from mmadapt.types import Features

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel
    from mmadapt.recipe import Recipe

_OFF = "set data.cache: false"


def refuse_recipe(recipe: Recipe, fusions: Iterable[Fusion] = ()) -> None:
    """Refuses what is known before weights are loaded: random media, and encoders that change.

    Args:
        recipe: the recipe.
        fusions: of it, where they are built already.

    Raises:
        RecipeError: with every reason.
    """
    problems = []
    if recipe.data.augment:
        problems.append(
            recipe.problem(
                ("data", "cache"),
                "data.augment gives a file other features every time, so they cannot be cached",
                f"{_OFF} or data.augment: false",
            )
        )
    for number, entry in enumerate(recipe.train.unfreeze or ()):
        problems.append(
            recipe.problem(
                ("train", "unfreeze", number, "encoder"),
                f"blocks of '{entry.encoder}' train, so its features change and cannot be cached",
                f"{_OFF} or leave its blocks frozen",
            )
        )
    problems += [
        recipe.problem(
            ("data", "cache"),
            f"fusion '{fusion.name}' edits its encoder (adem: bottleneck), so features change in "
            "training and cannot be cached",
            _OFF,
        )
        for fusion in fusions
        if fusion.edits_encoders
    ]
    if problems:
        raise RecipeError(problems)


def refuse_inexact(model: MultimodalModel, recipe: Recipe) -> None:
    """Refuses encoders whose features are no function of the media alone.

    Args:
        model: composed.
        recipe: where problems are placed.

    Raises:
        RecipeError: with every reason.
    """
    problems: list[Problem] = []
    for name, encoder in model.encoders.items():
        reason = _reason(model, name, cast(Encoder, encoder))
        if reason is not None:
            problems.append(recipe.problem(("data", "cache"), reason, _OFF))
    if problems:
        raise RecipeError(problems)


def _reason(model: MultimodalModel, name: str, encoder: Encoder) -> str | None:
    if name in model.attachment.rewritten:
        return (
            f"a fusion edits encoder '{name}' (adem: bottleneck), so its features change in "
            "training and cannot be cached"
        )
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        return f"encoder '{name}' trains, so its features change and cannot be cached"
    try:
        settings_of(encoder.processor)
    except Nameless as error:
        return f"the processor of encoder '{name}' has settings that cannot be named: {error}"
    for fusion_name, served in model.served.items():
        fusion = cast(Fusion, model.fusions[fusion_name])
        if name not in served or encoder.grid is not None:
            continue
        if _sees_padding(fusion, encoder) and _varies(encoder):
            return (
                f"fusion '{fusion_name}' pools all tokens of encoder '{name}', whose number follows"
                " the longest of a batch, so that features are not those of a file alone (whisper: "
                "padding: max_seconds gives every file the same number)"
            )
    return None


def _varies(encoder: Encoder) -> bool:
    """Whether media of other sizes and lengths give items of other sizes."""
    rng = np.random.default_rng(0)
    shapes = set()
    for size in (1, 3):
        value: Any = rng.integers(0, 256, (8 * size, 32 * size, 48, 3), dtype=np.uint8)
        if encoder.modality == "image":
            value = value[0]
        elif encoder.modality == "audio":
            value = (rng.standard_normal(size * 8000).astype(np.float32), 16_000)
        try:
            result = encoder.processor({"type": encoder.modality, "value": value})
        except Exception:  # a processor of files alone says nothing, so it may
            return True
        values = result[0] if isinstance(result, tuple) else result
        shapes.add(values.shape[1:])
    return len(shapes) > 1


@torch.no_grad()
def _sees_padding(fusion: Fusion, encoder: Encoder) -> bool:
    """Whether padding behind a file's tokens changes what `reduce` makes of them."""
    info = encoder_info(encoder)
    first = info.num_prefix_tokens
    tokens = torch.linspace(-1, 1, (first + 12) * info.hidden_size).view(1, 1, -1, info.hidden_size)
    alone, padded = (
        cut_row(fusion.reduce(_features(fusion, info, tokens, extra)), 0, varies=True)
        for extra in (0, 5)
    )
    if alone.mask.shape != padded.mask.shape:
        return True
    return not all(map(torch.allclose, alone.levels, padded.levels))


def _features(fusion: Fusion, info: Any, tokens: torch.Tensor, extra: int) -> Features:
    count = tokens.shape[2] + extra
    level = torch.nn.functional.pad(tokens, (0, 0, 0, extra))
    mask = (torch.arange(count) < tokens.shape[2]).view(1, 1, -1)
    item = torch.zeros(1, 1, dtype=torch.long)
    levels = tuple(level for _ in fusion.levels(info))
    return Features(levels, mask, item, info.num_prefix_tokens, info.grid)
