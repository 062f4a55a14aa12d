"""The contract of a source, as a test class to inherit."""

from __future__ import annotations

import pickle
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import BaseModel

from mmadapt.contracts import Source
from mmadapt.errors import DataError, MediaError
from mmadapt.testing.samples import sample_problems
from mmadapt.types import Sample

MOST_SAMPLES = 200


class SourceContract(ABC):
    """Every promise of a source, tested on a small data set that the test writes.

    A subclass names the class, writes a data set of a few samples, and says what is damaged in
    another one.

    Attributes:
        source: the class.
        fewest: samples that `config` must give.
        folder: an empty folder, a new one for each test.

    Example:
        class TestMySource(SourceContract):
            source = MySource

            def config(self):
                write_records(self.folder / "data.txt", count=5)
                return MyConfig(path=str(self.folder / "data.txt"))

            def damaged(self):
                (self.folder / "bad.txt").write_text("no record")
                return MyConfig(path=str(self.folder / "bad.txt")), ["bad.txt", "1"]
    """

    source: ClassVar[type[Source]]
    fewest: int = 3
    folder: Path

    @abstractmethod
    def config(self) -> BaseModel:
        """Options of a small data set, written to `self.folder`."""

    def damaged(self) -> tuple[BaseModel, list[str]] | None:
        """Options of a data set with a damaged record, and what its error must name.

        That is the file, and the record's id, number or line. None: nothing of this source can be
        damaged.
        """
        return None

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def build(self, config: BaseModel | None = None) -> Any:
        """The source of some options, by default of `config`."""
        return self.source(self.config() if config is None else config)

    def test_length(self) -> None:
        """`len` is the number of samples; there is none beyond."""
        source = self.build()
        assert len(source) >= self.fewest, f"give the contract at least {self.fewest} samples"
        listed = sum(1 for _ in zip(source, range(MOST_SAMPLES), strict=False))
        assert listed == min(len(source), MOST_SAMPLES), (
            f"len says {len(source)}, iterating gives {listed}"
        )

    def test_samples_are_well_formed(self) -> None:
        """Known keys, texts that are text, media parts that name an existing file or a value."""
        for sample in self._some(self.build()):
            problems = sample_problems(sample)
            assert not problems, f"sample {sample.get('id')!r}: {'; '.join(problems)}"

    def test_ids_are_unique(self) -> None:
        """Predictions and errors name a sample by its id."""
        ids = [sample["id"] for sample in self._some(self.build())]
        repeated = {identity for identity in ids if ids.count(identity) > 1}
        assert not repeated, f"several samples are called {sorted(repeated)}; ids must differ"

    def test_a_sample_does_not_depend_on_what_was_read_before(self) -> None:
        """Loader workers and resumed runs read samples in any order."""
        config = self.config()
        expected = self._some(self.build(config))
        fresh = self.build(config)
        order = list(range(len(expected)))
        random.Random(3).shuffle(order)
        np.random.seed(11)  # a sample is a function of its index, not of chance
        for index in [*order, *order]:
            assert is_same(fresh[index], expected[index]), (
                f"sample {index} is another one when it is read first or again"
            )

    def test_it_travels_to_loader_workers(self) -> None:
        """It pickles, also after it was read from, and gives the same samples there."""
        source = self.build()
        expected = self._some(source)
        arrived = pickle.loads(pickle.dumps(source))
        assert len(arrived) == len(source)
        for index, sample in enumerate(expected):
            assert is_same(arrived[index], sample), f"sample {index} is another one in a worker"

    def test_a_damaged_record_names_itself(self) -> None:
        """A DataError that says which file and which record, not another exception."""
        check_damaged(self.damaged(), lambda config: self._some(self.build(config)), "file")

    def _some(self, source: Any) -> list[Sample]:
        return [source[index] for index in range(min(len(source), MOST_SAMPLES))]


def check_damaged(
    case: tuple[Any, Sequence[str]] | None, read: Callable[[Any], object], where: str
) -> None:
    """Whether reading what is damaged is a DataError that names its place.

    Args:
        case: options of the source, and the words that the error has to hold; None for a source
            of which nothing can be damaged.
        read: builds the source of these options and reads it.
        where: what holds the records.
    """
    if case is None:
        pytest.skip("this source says that nothing of it can be damaged")
    config, words = case
    try:
        read(config)
    except (DataError, MediaError) as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, f"the error does not name {missing}: {error}"
    except Exception as error:
        pytest.fail(
            f"a damaged record raises {type(error).__name__} ({error}); raise a DataError with "
            f"{where}, record and reason, which a person can act on"
        )
    else:
        pytest.fail("a damaged record is read without any error")


def is_same(a: Any, b: Any) -> bool:
    """Whether two samples, or values inside, are equal; arrays by their values."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(is_same(x, y) for x, y in zip(a, b, strict=True))
    if hasattr(a, "__array__") and hasattr(b, "__array__"):
        return np.array_equal(np.asarray(a), np.asarray(b))
    return type(a) is type(b) and bool(a == b)
