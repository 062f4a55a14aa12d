"""The memory that one encoder's media make: keys and values that every LM layer reads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmadapt.contracts import EncoderInfo
from mmadapt.types import Features
from mmadapt_adem.activations import ACTIVATIONS
from mmadapt_adem.config import AdemConfig
from mmadapt_adem.projector import Projector

TABLE_STD = 0.02


class EncoderMemory(nn.Module):
    """Projects an encoder's pooled features and adds the position tables.

    V = beta * projector(features); K = phi(V + e1); U = V + e2. For one image per sample e1 and e2
    are the published tables (1, n, d). An encoder that gives several items (frames) adds to every
    token of an item that item's row of a second table (t, d), linearly interpolated when a file has
    another number of items than the encoder's own. Tables on keys start at 0.02 * N(0, 1), those on
    values at 0.

    Args:
        config: of the fusion.
        info: of the encoder.
        hidden_size: width d of the LM.
        embedding_size: width of its token embeddings, for the CLS.
    """

    def __init__(
        self, config: AdemConfig, info: EncoderInfo, hidden_size: int, embedding_size: int
    ) -> None:
        super().__init__()
        self.config = config
        self.hidden_size = hidden_size
        self.num_items = info.num_items
        self.num_tokens = sum(height * width for height, width in config.scales)
        self.projector = Projector(info.hidden_size, config.hidden_size, hidden_size)
        if config.cls:
            self.cls_projector = Projector(info.hidden_size, config.hidden_size, embedding_size)
        if config.tables:
            shape = (1, self.num_tokens, hidden_size)
            self.key_table = nn.Parameter(TABLE_STD * torch.randn(shape))
            self.value_table = nn.Parameter(torch.zeros(shape))
        if config.tables and info.num_items > 1:
            items = (info.num_items, hidden_size)
            self.item_key_table = nn.Parameter(TABLE_STD * torch.randn(items))
            self.item_value_table = nn.Parameter(torch.zeros(items))

    def forward(self, features: Features | None) -> tuple[Tensor, Tensor, Tensor]:
        """Makes the memory of a batch.

        A sample without media has the memory that the tables make alone (V = 0), for as many items
        as the encoder gives; so the tables act as a bank, as published.

        Args:
            features: reduced features, or None where no sample has media of this encoder.

        Returns:
            Keys (b, n, d), values (b, n, d) and mask (b, n); b is 1 without features. Values are 0
            at masked tokens.
        """
        media, seen, item = self._project(features)
        slots = torch.arange(item.shape[1], device=item.device) < self.num_items
        bank = (item < 0).all(dim=1, keepdim=True) & slots
        item = item.masked_fill(bank, 0)
        mask = seen | bank[..., None]
        keys, values = media, media
        if self.config.tables:
            keys, values = media + self.key_table, media + self.value_table
            if self.num_items > 1:
                where = item_places(item, self.num_items)
                keys = keys + interpolate(self.item_key_table, where)[:, :, None]
                values = values + interpolate(self.item_value_table, where)[:, :, None]
        values = values * mask[..., None]
        if self.config.normalize_items:
            values = values / (item >= 0).sum(dim=1).clamp_min(1)[:, None, None, None]
        keys = ACTIVATIONS[self.config.activation](keys)
        return keys.flatten(1, 2), values.flatten(1, 2), mask.flatten(1, 2)

    def cls_embeds(self, features: Features) -> Tensor:
        """The embeddings (b, t, d) of the items' CLS tokens; not scaled by beta."""
        cls = features.levels[0][:, :, 0]
        return self.cls_projector(cls.masked_fill(~self._visible(features)[:, :, :1], 0))

    def _project(self, features: Features | None) -> tuple[Tensor, Tensor, Tensor]:
        """V (b, t, n, d), the tokens that are media (b, t, n), and the items (b, t)."""
        weight = self.projector.fc1.weight
        shape = (1, self.num_items, self.num_tokens)
        if features is None:
            absent = torch.full(shape[:2], -1, device=weight.device)
            return weight.new_zeros(*shape, self.hidden_size), absent[..., None] >= 0, absent
        first = features.num_prefix_tokens
        seen, item = self._visible(features)[:, :, first:], features.item
        # Padding is zeroed before the projector too: a NaN there would reach its gradients.
        tokens = features.levels[0][:, :, first:].masked_fill(~seen[..., None], 0)
        media = self.projector(tokens) * (self.config.beta * seen)[..., None]
        missing = max(0, self.num_items - item.shape[1])
        pad = nn.functional.pad
        return (
            pad(media, (0, 0, 0, 0, 0, missing)),
            pad(seen, (0, 0, 0, missing)),
            pad(item, (0, missing), value=-1),
        )

    def _visible(self, features: Features) -> Tensor:
        return features.mask & (features.item >= 0)[..., None]


def item_places(item: Tensor, num_items: int) -> Tensor:
    """Where each item stands among the `num_items` rows of a table.

    The items of one file are spread evenly over the table, so that a file with `num_items` items
    takes its rows one by one.

    Args:
        item: (b, t) number of the file that an item belongs to.
        num_items: rows of the table.

    Returns:
        (b, t) float, between 0 and num_items - 1.

    Example:
        >>> item_places(torch.tensor([[0, 0, 1, 1, 1, 1]]), 4).tolist()
        [[0.5, 2.5, 0.0, 1.0, 2.0, 3.0]]
    """
    same = item[:, :, None] == item[:, None, :]
    place = same.tril(-1).sum(dim=2)
    count = same.sum(dim=2)
    return ((place + 0.5) * (num_items / count) - 0.5).clamp(0, num_items - 1)


def interpolate(table: Tensor, where: Tensor) -> Tensor:
    """Rows (..., d) of `table` (t, d) at the fractional places `where` (...)."""
    # A product, because indexing adds up its gradients in an order that varies between runs.
    places = torch.arange(table.shape[0], device=table.device)
    shares = (1 - (where[..., None] - places).abs()).clamp_min(0)
    return shares.to(table.dtype) @ table
