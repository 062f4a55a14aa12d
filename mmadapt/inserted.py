"""How many tokens a model's fusions put into the text, found out by having them do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import cast
from weakref import WeakKeyDictionary

import torch

from mmadapt.contracts import Encoder, EncoderInfo, Fusion, encoder_info
from mmadapt.data.length import InsertedTokens, LengthLimit, lm_limit
from mmadapt.errors import MMAdaptError
from mmadapt.model import MultimodalModel
from mmadapt.recipe import DataConfig
from mmadapt.types import Features, TextInputs

UNKNOWN_TOKENS = 1  # of an item of an encoder without a fixed grid: what fits is never refused
_FAILURES = (MMAdaptError, RuntimeError, ValueError, TypeError, IndexError, AssertionError)


def length_limit(model: MultimodalModel, data: DataConfig, reserved: int = 0) -> LengthLimit:
    """How long a sample may be: `data.max_length`, else what the LM's configuration says.

    Args:
        model: whose fusions add their tokens.
        data: of the recipe.
        reserved: tokens that are still to be generated.
    """
    longest = data.max_length or lm_limit(model.lm.config)
    return LengthLimit(longest, data.too_long, inserted_tokens(model), reserved)


_COUNTED: WeakKeyDictionary[MultimodalModel, InsertedTokens] = WeakKeyDictionary()


def inserted_tokens(model: MultimodalModel) -> InsertedTokens:
    """Counts, once for a model, the positions that each file and each item add to a text.

    Tokens without a position of their own (eP-ALM's) are not counted, nor are those of a fusion
    that cannot do with a number of items other than its encoder's own.
    """
    if model not in _COUNTED:
        with torch.random.fork_rng(devices=[]):
            _COUNTED[model] = _counted(model)
    return _COUNTED[model]


def inserted_by(
    fusions: Mapping[str, Fusion],
    served: Mapping[str, Sequence[str]],
    infos: Mapping[str, EncoderInfo],
) -> InsertedTokens:
    """As `inserted_tokens`, of fusions on the CPU whose encoders are only described.

    Args:
        fusions: by name.
        served: the encoders of each.
        infos: what each encoder says of itself.
    """
    device, types = torch.device("cpu"), dict.fromkeys(infos, torch.float32)
    return _summed(list(infos), partial(_count, fusions, served, infos, types, device))


def _counted(model: MultimodalModel) -> InsertedTokens:
    encoders = {name: cast(Encoder, encoder) for name, encoder in model.encoders.items()}
    infos = {name: encoder_info(encoder) for name, encoder in encoders.items()}
    types = {
        name: next((p.dtype for p in encoder.parameters()), torch.float32)
        for name, encoder in encoders.items()
    }
    fusions = {name: cast(Fusion, fusion) for name, fusion in model.fusions.items()}
    count = partial(_count, fusions, model.served, infos, types, model.device)
    return _summed(list(infos), count)


@torch.no_grad()
def _summed(
    encoders: Sequence[str], count: Callable[[Mapping[str, Sequence[int]]], int]
) -> InsertedTokens:
    none, with_media = 0, 0
    per_file: dict[str, int] = {}
    per_item: dict[str, int] = {}
    with suppress(*_FAILURES):
        none = count({})
    for name in encoders:
        try:
            one, two_items, two_files = (count({name: files}) for files in ([0], [0, 0], [0, 1]))
        except _FAILURES:
            continue
        per_item[name] = two_items - one
        per_file[name] = two_files - two_items
        with_media = max(with_media, one - per_item[name] - per_file[name])
    return InsertedTokens(none, with_media, per_file, per_item)


def _count(
    fusions: Mapping[str, Fusion],
    served: Mapping[str, Sequence[str]],
    infos: Mapping[str, EncoderInfo],
    types: Mapping[str, torch.dtype],
    device: torch.device,
    files: Mapping[str, Sequence[int]],
) -> int:
    """Positions added to a text whose items belong to these files."""
    ids = torch.zeros(1, 4, dtype=torch.long, device=device)
    positions = torch.ones(1, 1 + max((max(f) for f in files.values()), default=-1))
    text = TextInputs(ids, ids == 0, None, positions.long().to(device))
    for fusion_name, fusion in fusions.items():
        features = {
            name: fusion.reduce(_features(infos[name], fusion, files[name], types[name], device))
            for name in served[fusion_name]
            if name in files
        }
        text = fusion.embeds(text, features)
    taken = text.attention_mask
    if text.positionless is not None:
        taken = taken & ~text.positionless
    return int(taken.sum()) - ids.shape[1]


def _features(
    info: EncoderInfo,
    fusion: Fusion,
    files: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
) -> Features:
    """Zeros in place of what an encoder says of items of these files."""
    patches = info.grid[0] * info.grid[1] if info.grid else UNKNOWN_TOKENS
    shape = (1, len(files), info.num_prefix_tokens + patches)
    level = torch.zeros(*shape, info.hidden_size, device=device, dtype=dtype)
    mask = torch.ones(shape, dtype=torch.bool, device=device)
    item = torch.tensor([list(files)], device=device)
    levels = tuple(level for _ in fusion.levels(info))
    return Features(levels, mask, item, info.num_prefix_tokens, info.grid)
