"""Hugging Face datasets: of the hub, saved to disk, or as parquet and other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mmadapt.contracts import Source
from mmadapt.errors import DataError, MissingDependency
from mmadapt.types import Sample
from mmadapt_datasets.records import Record
from mmadapt_datasets.table import Columns, Files

FILES = {"parquet": "parquet", "arrow": "arrow", "csv": "csv", "json": "json", "jsonl": "json"}


class HfConfig(BaseModel):
    """Options of Hugging Face datasets.

    Args:
        path: Hub id, a folder of `save_to_disk`, a folder of files, or one parquet, arrow, csv,
            json or jsonl file.
        split: Name of the split, also `train[:1000]`; a single file is all `train`, and what
            `save_to_disk` wrote is read by whole splits.
        name: Name of the hub dataset's configuration.
        revision: Git revision of a hub dataset.
        columns: Which column is what.
        root: Folder of the files that rows name; without it rows hold encoded bytes.
        limit: Read only the first so many rows.
    """

    model_config = ConfigDict(extra="forbid")
    path: str
    split: str = "train"
    name: str | None = None
    revision: str | None = None
    columns: Columns
    root: str | None = None
    limit: int | None = Field(None, ge=1)


class HfSource(Source):
    """The rows of a dataset, memory-mapped; media stay encoded until an encoder's processor reads.

    Raises:
        MissingDependency: the package `datasets` is not installed.
        DataError: there is no such dataset, split or column, or it has no rows.
    """

    Config = HfConfig
    config: HfConfig

    def __init__(self, config: HfConfig) -> None:
        super().__init__(config)
        self.files = Files(config.root)
        table = _load(config)
        if config.limit is not None:
            table = table.select(range(min(config.limit, len(table))))
        wrong = config.columns.missing(table.column_names)
        if wrong or not len(table):
            raise DataError(config.path, None, wrong or "has no rows")
        self.table = _undecoded(table)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Sample:
        file = Path(self.config.path)
        return self.config.columns.sample(
            Record(file, str(index), dict(self.table[index])), self.files
        )


def _load(config: HfConfig) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependency("the source 'hf'", "datasets", "mmadapt[datasets]") from error
    path = Path(config.path).expanduser()
    try:
        if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(str(path))
            splits = dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}
            if config.split not in splits:
                known = ", ".join(splits)
                raise ValueError(f"a saved dataset is read by whole splits, here {known}")
            return splits[config.split]
        if path.is_file():
            if path.suffix[1:] not in FILES:
                raise ValueError(f"its name must end in one of {', '.join(FILES)}")
            kind = FILES[path.suffix[1:]]
            return datasets.load_dataset(kind, data_files=str(path), split=config.split)
        return datasets.load_dataset(
            str(path) if path.is_dir() else config.path,
            config.name,
            split=config.split,
            revision=config.revision,
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(config.path, None, f"cannot be loaded: {reason}") from error


def _undecoded(table: Any) -> Any:
    """The table with media as encoded bytes, which the readers decode within their time limit."""
    import datasets

    for name, feature in table.features.items():
        kind = type(feature)
        if kind in (datasets.Image, datasets.Audio, getattr(datasets, "Video", None)):
            table = table.cast_column(name, kind(decode=False))
    return table
