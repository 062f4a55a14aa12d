"""How clearly a greedy search decided: by how much each token led the next likeliest one.

Float sums depend on how many rows are computed at once, in their last digits. An answer whose
margins are all larger than that is the same in any batch; one whose are not is decided anew, alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation import GenerationMode

# Logits of one text in batches of different sizes differ by about 1e-5 in float32; the narrower
# types by some units of their last place at the size of logits.
_ROUNDING = {torch.float16: 0.1, torch.bfloat16: 0.5}
_FLOAT32 = 1e-3
_QUANTIZED = 0.5


class GreedyMargins(LogitsProcessor):
    """Notes, step by step, by how much the likeliest token of each row leads.

    It stands behind all other processors, and so sees the scores that decide.
    """

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    @property
    def options(self) -> dict[str, Any]:
        """What `generate` is given."""
        return {"logits_processor": LogitsProcessorList([self])}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores, unchanged."""
        if scores.shape[-1] > 1:
            first, second = scores.float().topk(2, dim=-1).values.unbind(-1)
            self.steps.append((first - second).nan_to_num(nan=math.inf).cpu())
        return scores

    def smallest(self, ids: Tensor, stops: int | Iterable[int] | None) -> list[float]:
        """The smallest margin of each row.

        Args:
            ids: (b, new) ids of the new tokens.
            stops: tokens that end a row; what follows them is padding.
        """
        if not self.steps:
            return [math.inf] * len(ids)
        ended = _ends(ids, stops).long()
        after = ended.cumsum(dim=1) - ended  # > 0 behind the first stop
        margins = torch.stack(self.steps, dim=1)
        width = min(margins.shape[1], after.shape[1])
        seen = margins[:, :width].masked_fill(after[:, :width] > 0, math.inf)
        return seen.amin(dim=1).tolist()


def unfinished(ids: Tensor, stops: int | Iterable[int] | None) -> list[bool]:
    """Which rows of new tokens (b, new) hold no stop token."""
    return (~_ends(ids, stops).any(dim=1)).tolist()


def _ends(ids: Tensor, stops: int | Iterable[int] | None) -> Tensor:
    ending = [] if stops is None else [stops] if isinstance(stops, int) else list(stops)
    return torch.isin(ids.cpu(), torch.tensor(ending, dtype=ids.dtype))


def generation_mode(lm: nn.Module, options: dict[str, Any]) -> str:
    """What `generate` does with these options, as transformers calls it, e.g. `greedy_search`."""
    config = copy.deepcopy(options.get("generation_config") or cast(Any, lm).generation_config)
    if "generation_config" not in options:
        config.do_sample = False  # unless the options say otherwise, see `generation_options`
    for key, value in options.items():
        if hasattr(config, key):
            setattr(config, key, value)
    return str(config.get_generation_mode(options.get("assistant_model")).value)


def is_greedy(lm: nn.Module, options: dict[str, Any]) -> bool:
    """Whether generation takes the likeliest token at every step."""
    return generation_mode(lm, options) == GenerationMode.GREEDY_SEARCH.value


def rounding(model: nn.Module) -> float:
    """The margin below which another batch size could decide otherwise."""
    dtypes = {parameter.dtype for parameter in model.parameters()}
    coarse = max((_ROUNDING.get(dtype, _FLOAT32) for dtype in dtypes), default=_FLOAT32)
    quantized = any(not dtype.is_floating_point for dtype in dtypes)
    return max(coarse, _QUANTIZED) if quantized else coarse
