"""One thread per test process: tests are tiny, and processes share the cores."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # also for the processes that tests start

import torch

torch.set_num_threads(1)


def pytest_collection_finish():
    """What is imported stays: walking through it takes most of a second, and every run does."""
    gc.collect()
    gc.freeze()
