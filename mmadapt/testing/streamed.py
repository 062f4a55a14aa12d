"""The contract of a streamed source, as a test class to inherit."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from mmadapt.contracts import StreamedSource
from mmadapt.testing.samples import sample_problems
from mmadapt.testing.source import MOST_SAMPLES, check_damaged, is_same
from mmadapt.types import Sample


class StreamedSourceContract(ABC):
    """Every promise of a streamed source, tested on a small data set that the test writes.

    A subclass names the class, or the `Source` whose `build` gives it, writes a data set of a few
    samples in two shards at least, and says what is damaged in another one.

    Attributes:
        source: the class.
        fewest: samples that `config` must give.
        folder: an empty folder, a new one for each test.
    """

    source: ClassVar[Any]
    fewest: int = 3
    folder: Path

    @abstractmethod
    def config(self) -> BaseModel:
        """Options of a small data set, written to `self.folder`."""

    def damaged(self) -> tuple[BaseModel, list[str]] | None:
        """Options of a data set with a damaged record, and what its error must name.

        That is the shard, and the record's id, number or line. None: nothing can be damaged.
        """
        return None

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def build(self, config: BaseModel | None = None) -> StreamedSource:
        """The source of some options, by default of `config`."""
        found = self.source.build(self.config() if config is None else config)
        assert isinstance(found, StreamedSource), f"{type(found).__name__} is not streamed"
        return found

    def test_shards_hold_the_samples_in_order(self) -> None:
        """What the shards hold, one after the other, is what iterating gives."""
        source = self.build()
        assert source.shards, "there is no shard"
        by_shard = [
            source.sample(record)
            for shard in range(len(source.shards))
            for record in source.read(shard)
        ]
        assert len(by_shard) >= self.fewest, f"give the contract at least {self.fewest} samples"
        assert is_same(by_shard, list(source)), "iterating gives other samples than the shards"
        assert source.length in (None, len(by_shard)), f"length says {source.length}"

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

    def test_a_shard_can_be_read_again_and_beside_itself(self) -> None:
        """Resumed runs and several passes read the same records in the same order."""
        source = self.build()
        expected = self._some(source)
        for shard in range(len(source.shards)):
            next(source.read(shard), None)  # left where it is
        assert is_same(self._some(source), expected), "a second reading gives other samples"
        pairs = zip(source.read(0), source.read(0), strict=True)
        assert all(is_same(source.sample(a), source.sample(b)) for a, b in pairs)

    def test_records_can_be_kept(self) -> None:
        """A shuffle buffer makes samples of records long after others were read."""
        source = self.build()
        records = list(source.read(0))
        again = [source.sample(record) for record in reversed(records)]
        expected = [source.sample(record) for record in source.read(0)]
        assert is_same(again[::-1], expected), "a record kept for a while gives another sample"

    def test_it_travels_to_loader_workers(self) -> None:
        """It pickles, also after it was read from, and gives the same samples there."""
        source = self.build()
        expected = self._some(source)
        arrived = pickle.loads(pickle.dumps(source))
        assert is_same(self._some(arrived), expected), "other samples in a worker"

    def test_a_damaged_record_names_itself(self) -> None:
        """A DataError that says which shard and which record, not another exception."""
        check_damaged(self.damaged(), lambda config: self._some(self.build(config)), "shard")

    def _some(self, source: StreamedSource) -> list[Sample]:
        return list(islice(source, MOST_SAMPLES))
