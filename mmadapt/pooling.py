"""Pooling of a grid of media tokens, to one scale or several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mmadapt.errors import RecipeError

Grid = tuple[int, int]


def pool_scales(
    tokens: Tensor, mask: Tensor, grid: Grid, scales: Sequence[Grid], pool: str = "avg"
) -> tuple[Tensor, Tensor]:
    """Pools a grid of tokens to every scale, and puts the scales behind one another.

    Masked tokens count for nothing: an average is over the others of its window. A scale equal to
    the grid is passed through. Source: ADEM-VL (arXiv 2410.17779), Algorithm 1.

    Args:
        tokens: (b, t, h*w, e), row by row.
        mask: (b, t, h*w) bool, False at padding.
        grid: (h, w).
        scales: (height, width) of each scale, none larger than the grid.
        pool: `avg` or `max`, both adaptive.

    Returns:
        Tokens (b, t, n, e) and their mask (b, t, n); n is the sum of the scales' areas.

    Example:
        >>> square = torch.arange(16.0).view(1, 1, 16, 1)
        >>> pool_scales(square, square >= 0, (4, 4), [(2, 2)])[0].flatten().tolist()
        [2.5, 4.5, 10.5, 12.5]
    """
    seen = mask.reshape(tokens.shape[:3])
    pooled = [
        (tokens, seen) if scale == grid else _pool(tokens, seen, grid, scale, pool)
        for scale in scales
    ]
    return torch.cat([x for x, _ in pooled], dim=2), torch.cat([m for _, m in pooled], dim=2)


def _pool(
    tokens: Tensor, mask: Tensor, grid: Grid, scale: Grid, pool: str
) -> tuple[Tensor, Tensor]:
    x = tokens.flatten(0, 1).transpose(1, 2).unflatten(2, grid)
    seen = mask.flatten(0, 1)[:, None].unflatten(2, grid)
    share = F.adaptive_avg_pool2d(seen.to(x.dtype), scale)
    some = share > 0
    if pool == "max":
        x = F.adaptive_max_pool2d(x.masked_fill(~seen, -torch.inf), scale).masked_fill(~some, 0)
    else:
        x = F.adaptive_avg_pool2d(x.masked_fill(~seen, 0), scale) / share.masked_fill(~some, 1)
    batch, items = tokens.shape[:2]
    return (
        x.flatten(2).transpose(1, 2).unflatten(0, (batch, items)),
        some.flatten(1).unflatten(0, (batch, items)),
    )


def check_grid(name: str, scales: Sequence[Grid], grid: Grid, encoder: str = "") -> None:
    """Refuses scales that are finer than the grid they pool.

    Raises:
        RecipeError: with scales that would fit.
    """
    height, width = grid
    for scale in scales:
        if scale[0] > height or scale[1] > width:
            half = [max(1, height // 2), max(1, width // 2)]
            owner = f"encoder '{encoder}'" if encoder else "its encoder"
            raise RecipeError(
                f"fusion '{name}': scale {list(scale)} is finer than the {height} x {width} grid "
                f"of {owner}; choose scales up to the grid, such as scales: {[list(grid), half]}"
            )
