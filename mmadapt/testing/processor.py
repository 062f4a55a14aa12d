"""What the processor of every encoder owes to the loader."""

from __future__ import annotations

import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmadapt.errors import MediaError
from mmadapt.testing.encoder_case import EncoderCase
from mmadapt.testing.media import load, unreadable

MOST_BYTES = 1_000_000


class ProcessorContract(EncoderCase):
    """Determinism, randomness, pickling, bad files."""

    def test_without_a_generator_it_is_deterministic(self) -> None:
        """Evaluation and the cache read a file twice and must see the same values."""
        processor, part = self.built().processor, self.media(0)
        first, second = (load(processor, part) for _ in range(2))
        assert torch.equal(first.values, second.values), (
            "the processor gives other values the second time although rng is None; the cache and "
            "evaluation need the same ones"
        )
        other = load(processor, self.media(1)).values
        assert other.shape != first.values.shape or not torch.equal(other, first.values), (
            "two different media give equal values"
        )

    def test_chance_comes_from_the_generator_alone(self) -> None:
        """Equal generators give equal values; the process's own generators are not touched."""
        processor, part = self.built().processor, self.media(0)
        _seed_all(1)
        before = _global_state()
        first = load(processor, part, np.random.default_rng(9)).values
        assert _global_state() == before, (
            "the processor draws from a global generator (random, numpy or torch); draw from the "
            "`rng` that it is given, so that resumed runs see the same media"
        )
        _seed_all(2)
        again = load(processor, part, np.random.default_rng(9)).values
        assert torch.equal(first, again), "equal generators give other values"

    def test_values_are_items(self) -> None:
        """(t, …) tensors; a mask, where there is one, has sizes of theirs."""
        medium = load(self.built().processor, self.media(0))
        assert isinstance(medium.values, Tensor) and medium.values.ndim >= 2, (
            "the processor must return a tensor (t, …), one row for each item"
        )
        assert len(medium.values), "the processor gives no item of a file"
        if medium.mask is not None:
            sizes, of_values = tuple(medium.mask.shape), tuple(medium.values.shape)
            rest = len(of_values) - len(sizes) + 1
            assert sizes == of_values[: len(sizes)] or sizes == of_values[:1] + of_values[rest:], (
                f"the processor's mask is {sizes}, its values {of_values}; behind t, the mask has "
                "the first or the last sizes of the values"
            )

    def test_it_travels_to_loader_workers(self) -> None:
        """It pickles, without weights, and reads the same on the other side."""
        processor, part = self.built().processor, self.media(0)
        data = pickle.dumps(processor)
        assert len(data) <= MOST_BYTES, (
            f"the pickled processor has {len(data)} bytes; it is sent to every loader worker and "
            "must hold no weights"
        )
        arrived = load(pickle.loads(data), part).values
        assert torch.equal(arrived, load(processor, part).values), "it reads otherwise there"

    def test_bad_files_name_themselves(self) -> None:
        """A file that cannot be read is a MediaError with its path, whatever the reason."""
        processor = self.built().processor
        for word, part in unreadable(self.encoder.modality, self.folder).items():
            try:
                processor(part, None)
            except MediaError as error:
                text = str(error)
                assert part["path"] in text, f"the error of a {word} file does not name it: {text}"
            except Exception as error:
                pytest.fail(
                    f"a {word} file raises {type(error).__name__} ({error}); raise a MediaError "
                    "with its path, so that training names the file and goes on"
                )
            else:
                pytest.fail(f"a {word} file is read without any error")


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _global_state() -> tuple[Any, ...]:
    numpy_state: Any = np.random.get_state()
    return (
        random.getstate(),
        numpy_state[1].tobytes(),
        numpy_state[2],
        torch.get_rng_state().numpy().tobytes(),
    )
