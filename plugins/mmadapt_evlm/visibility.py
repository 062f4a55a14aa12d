"""Which media items each column of the text sees.

A column has a code, and a table says for each code which of the t items are visible:

    0               nothing: text before any media
    1 ... t         a token of item code - 1, which sees that item only
    t+1 ... 2t      text whose last item before it is code - t - 1
    2t+1            what is generated after the prompt

Codes travel through the LM's cache as plain columns, so a step needs nothing but the number of
positions already there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmadapt_evlm.config import Visible


class Seen(NamedTuple):
    """What every gated layer of one forward is told of its mask.

    Some kernels give NaN for a row that sees nothing. It sees all in `bias`, and is silenced after.

    Args:
        bias: (b, 1, q, k) added to scores: 0 where a query sees a key, else -inf.
        rows: (b, q, 1) 0 for queries that see nothing, else 1; None where all see something.
    """

    bias: Tensor
    rows: Tensor | None


def seen_by(mask: Tensor, zero_pad: int, dtype: torch.dtype) -> Seen:
    """Of the keys (b, q, k) that each query sees, and `zero_pad` more that all of them see."""
    if zero_pad:
        mask, rows = torch.nn.functional.pad(mask, (0, zero_pad), value=True), None
    else:
        rows = mask.any(dim=2, keepdim=True)
        mask = mask | ~rows
        # To ask a GPU would mean to wait for it, and a compiler cannot know.
        asked = mask.device.type == "cpu" and not torch.compiler.is_compiling()
        rows = None if asked and bool(rows.all()) else rows.to(dtype)
    bias = torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -torch.inf)
    return Seen(bias[:, None], rows)


def visibility(
    span: Tensor, file: Tensor, order: Tensor, num_tokens: int, visible: Visible
) -> tuple[Tensor, Tensor]:
    """Makes codes and table.

    Args:
        span: (b, s) 1 + index of the inserted token that stands at a column, else 0.
        file: (b, t) file of each item, -1 where absent.
        order: (b, t) items in the order of insertion.
        num_tokens: inserted for each item.
        visible: what text sees.

    Returns:
        Codes (b, s) and table (b, 2t + 2, t), bool.
    """
    (batch, items), length = file.shape, span.shape[1]
    columns = torch.arange(length, device=span.device).expand(batch, -1)
    is_token = span > 0
    item = order.gather(1, (span - 1).clamp_min(0) // num_tokens)
    last = torch.where(is_token, columns, -1).cummax(dim=1).values
    last_item = item.gather(1, last.clamp_min(0))
    of_text = torch.where(last >= 0, 1 + items + last_item, 0)
    codes = torch.where(is_token, 1 + item, of_text)
    # Where each item's tokens stand; column 0 collects the text.
    stands = torch.zeros(batch, 1 + items, dtype=torch.long, device=span.device)
    place = torch.where(is_token, 1 + item, 0)
    stands = stands.scatter_reduce(1, place, columns, "amax")[:, 1:]
    own = torch.eye(items, dtype=torch.bool, device=span.device).expand(batch, -1, -1)
    after = _after(own, file, stands, visible)
    nothing = torch.zeros_like(own[:, :1])
    text = torch.cat([nothing, own, after], dim=1)
    end = text.gather(1, of_text[:, -1:, None].expand(-1, -1, items))
    return codes, torch.cat([text, end], dim=1)


def _after(own: Tensor, file: Tensor, stands: Tensor, visible: Visible) -> Tensor:
    """(b, t, t): what text sees whose last item is the row's."""
    if visible == "immediate":
        return own
    if visible == "video_all":
        seen = file[:, :, None] == file[:, None, :]
    else:
        seen = stands[:, None, :] <= stands[:, :, None]
    return seen & (file >= 0)[:, None, :]


def visible_keys(codes: Tensor, table: Tensor, item_of_key: Tensor, real: Tensor) -> Tensor:
    """(b, q, k) bool: the keys that each query sees.

    Args:
        codes: (b, q).
        table: (b, codes, t).
        item_of_key: (k,) item that a key belongs to.
        real: (b, k) False at padding.
    """
    items = table.gather(1, codes[..., None].expand(-1, -1, table.shape[2]))
    return items[:, :, item_of_key] & real[:, None, :]
