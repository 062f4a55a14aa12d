"""Keeping libraries from talking over the progress bars."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silences what transformers and accelerate say below errors; undone at the end."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    # Loader workers are forked after tokenising; without this the tokenizers library warns.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            for category in (FutureWarning, DeprecationWarning):
                warnings.simplefilter("ignore", category)
            for package in ("transformers", "accelerate", "torch.utils.data", "bitsandbytes"):
                warnings.filterwarnings("ignore", module=package, category=UserWarning)
            yield
    finally:
        logging.set_verbosity(level)
