"""`mmadapt cache`: the features of a recipe's media, computed ahead of training."""

from mmadapt.caching.run import Filled, fill_cache

__all__ = ["Filled", "fill_cache"]
