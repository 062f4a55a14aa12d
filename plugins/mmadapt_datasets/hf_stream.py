"""Hugging Face datasets read in order, without downloading or indexing them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from mmadapt.contracts import StreamedSource
from mmadapt.errors import DataError
from mmadapt.types import Sample
from mmadapt_datasets.checked import check_files, check_places
from mmadapt_datasets.hf import HfConfig, dataset_builder, kind_of_file, loading, saved
from mmadapt_datasets.records import Record
from mmadapt_datasets.table import Files

ROWS = 64
"""Rows that are read at once."""


@dataclass(frozen=True)
class Row:
    """One row of a table as it was read: values become Python's only where they are wanted."""

    shard: int
    number: int
    table: Any
    place: int


class HfStream(StreamedSource):
    """The rows of a dataset, file after file; media stay encoded.

    Raises:
        MissingDependency: the package `datasets` is not installed.
        DataError: there is no such dataset or split; while reading, a damaged file, or a row that
            cannot be used.
    """

    Config = HfConfig
    config: HfConfig

    def __init__(self, config: HfConfig) -> None:
        super().__init__(config)
        self.files = Files(config.root)
        with loading(config) as datasets, _quiet(config.path):
            self.table, names = _opened(config, datasets)
        count = self.table.num_shards
        several = [f"{config.path} (shard {n + 1} of {count})" for n in range(count)]
        self.names = names if len(names) == count else several if count > 1 else [config.path]
        self._checked = {0}

    @property
    def shards(self) -> Sequence[str]:
        """The files; the first rows of all count as one shard."""
        return self.names if self.config.limit is None else [self.config.path]

    def read(self, shard: int) -> Iterator[Row]:
        """The rows of a file."""
        if self.config.limit is None:
            return self._rows(shard)
        every = chain.from_iterable(map(self._rows, range(len(self.names))))
        return islice(every, self.config.limit)

    def sample(self, record: Row) -> Sample:
        """The sample of a row."""
        columns = self.config.columns
        values = {name: record.table[name][record.place] for name in record.table.column_names}
        row = Record(
            Path(self.names[record.shard]),
            f"row {record.number}",
            {name: value.as_py() for name, value in values.items()},
        )
        if wrong := columns.missing(list(values)):
            raise row.fail(wrong)
        sample = columns.sample(row, self.files)
        if columns.id is None:
            several = len(self.names) > 1
            name = f"{record.shard}-{record.number}" if several else str(record.number)
            return {**sample, "id": name}
        return sample

    def _rows(self, shard: int) -> Iterator[Row]:
        """The rows of one file; worked on by tables, so that nothing is decoded."""
        if shard not in self._checked:
            check_files([self.names[shard]])
            self._checked.add(shard)
        part, number = self.table.shard(num_shards=len(self.names), index=shard), 0
        tables = iter(part.with_format("arrow").iter(batch_size=ROWS))
        while True:
            with loading(self.config), _quiet(self.names[shard], number):
                table = next(tables, None)
            if table is None:
                return
            for place in range(table.num_rows):
                yield Row(shard, number, table, place)
                number += 1


def _opened(config: HfConfig, datasets: Any) -> tuple[Any, list[str]]:
    """The streamed table, and the names of its files where they are known."""
    if (found := saved(config)) is not None:
        return found.to_iterable_dataset(), []
    path = Path(config.path).expanduser()
    if path.is_file():
        builder = datasets.load_dataset_builder(kind_of_file(path), data_files=str(path))
    else:
        builder = dataset_builder(config, datasets)
    files: dict[str, list[str]] = dict(builder.config.data_files or {})
    if not path.is_file():
        check_places(path, [str(file) for split in files.values() for file in split])
    check_files(str(file) for split in files.values() for file in split[:1])  # read at once
    names = [str(file) for file in files.get(config.split, ())]
    return builder.as_streaming_dataset(split=config.split), names


@contextmanager
def _quiet(name: str, number: int | None = None) -> Iterator[None]:
    """One error of ours, with file and record, in place of what `datasets` writes and raises.

    Args:
        name: of the file that may be damaged.
        number: of the first row that was to be read; None before any is.
    """
    log = logging.getLogger("datasets")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except (ValueError, OSError) as error:
        if number is None:
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(name, f"row {number} or later", reason) from error
    finally:
        log.setLevel(level)
