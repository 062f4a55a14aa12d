"""Hugging Face datasets: of the hub, saved to disk, or as parquet and other files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mmadapt.contracts import Source, StreamedSource
from mmadapt.errors import DataError, MissingDependency, MMAdaptError
from mmadapt.types import Sample
from mmadapt_datasets.checked import CARDS, check_card, check_file, check_files, check_places
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
        streaming: Read file after file in order, and download or index nothing before.
    """

    model_config = ConfigDict(extra="forbid")
    path: str
    split: str = "train"
    name: str | None = None
    revision: str | None = None
    columns: Columns
    root: str | None = None
    limit: int | None = Field(None, ge=1)
    streaming: bool = False


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
        if config.columns.id is not None:
            _refuse_repeated(config, table)

    @classmethod
    def build(cls, config: HfConfig) -> Source | StreamedSource:
        """This source, or the one that streams."""
        if not config.streaming:
            return cls(config)
        from mmadapt_datasets.hf_stream import HfStream

        return HfStream(config)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Sample:
        columns = self.config.columns
        record = Record(Path(self.config.path), f"row {index}", dict(self.table[index]))
        sample = columns.sample(record, self.files)
        return sample if columns.id is not None else {**sample, "id": str(index)}


def _load(config: HfConfig) -> Any:
    with loading(config) as datasets:
        path = Path(config.path).expanduser()
        if (found := saved(config)) is not None:
            return found
        if path.is_file():
            kind = kind_of_file(path)
            check_file(path)
            return datasets.load_dataset(kind, data_files=str(path), split=config.split)
        name = str(path) if path.is_dir() else config.path
        builder = dataset_builder(config, datasets)
        names = list(chain.from_iterable((builder.config.data_files or {}).values()))
        check_places(path, names)
        check_files(names)
        return datasets.load_dataset(
            name,
            config.name,
            split=config.split,
            revision=config.revision,
        )


def dataset_builder(config: HfConfig, datasets: Any) -> Any:
    """What `datasets` knows of a folder of files or a dataset of the hub, before it reads one.

    Raises:
        DataError: the dataset's README names an address.
    """
    path = Path(config.path).expanduser()
    if path.is_dir():
        check_card(path)
    elif (card := _card_of_hub(config)) is not None:
        check_card(card, allowed="hf://datasets/")
    name = str(path) if path.is_dir() else config.path
    return datasets.load_dataset_builder(name, config.name, revision=config.revision)


def _card_of_hub(config: HfConfig) -> Path | None:
    """A folder with what a dataset of the hub says of its files; None where that is out of reach,
    so that only what was downloaded before can be read."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        folder = snapshot_download(
            config.path, repo_type="dataset", revision=config.revision, allow_patterns=CARDS
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        return None
    return Path(folder)


@contextmanager
def loading(config: HfConfig) -> Iterator[Any]:
    """The package `datasets`, whose errors inside are told as ours.

    Raises:
        MissingDependency: it is not installed.
        DataError: it cannot load what the options name.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingDependency("the source 'hf'", "datasets", "mmadapt[datasets]") from error
    try:
        yield datasets
    except MMAdaptError:
        raise
    except Exception as error:  # whatever the library raises speaks of this dataset
        raise DataError(config.path, None, _reason(error)) from error


def _reason(error: BaseException) -> str:
    """Why a dataset cannot be loaded: the first line of what caused it all."""
    if isinstance(error, StopIteration) or "corresponds to no data" in str(error):
        return "has no rows"
    while error.__cause__ is not None:
        error = error.__cause__
    return f"cannot be loaded: {next(iter(str(error).strip().splitlines()), type(error).__name__)}"


def saved(config: HfConfig) -> Any | None:
    """The split of a folder that `save_to_disk` wrote; None for other paths.

    Raises:
        ValueError: there is no such split.
    """
    import datasets

    path = Path(config.path).expanduser()
    if not any((path / name).is_file() for name in ("dataset_info.json", "dataset_dict.json")):
        return None
    found = datasets.load_from_disk(str(path))
    splits = dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}
    if config.split not in splits:
        known = ", ".join(splits)
        raise ValueError(f"a saved dataset is read by whole splits, here {known}")
    return splits[config.split]


def kind_of_file(path: Path) -> str:
    """How `datasets` calls the format of a file.

    Raises:
        ValueError: its name ends otherwise.
    """
    if path.suffix[1:] not in FILES:
        raise ValueError(f"its name must end in one of {', '.join(FILES)}")
    return FILES[path.suffix[1:]]


def _refuse_repeated(config: HfConfig, table: Any) -> None:
    """Raises a DataError where two rows have one id."""
    first: dict[Any, int] = {}
    for row, identity in enumerate(table.select_columns([config.columns.id])[config.columns.id]):
        if first.setdefault(str(identity), row) != row:
            reason = f"has the id '{identity}' of row {first[str(identity)]}; ids must differ"
            raise DataError(config.path, f"row {row}", reason)


def _undecoded(table: Any) -> Any:
    """The table with media as encoded bytes, which the readers decode within their time limit."""
    import datasets

    for name, feature in table.features.items():
        kind = type(feature)
        if kind in (datasets.Image, datasets.Audio, getattr(datasets, "Video", None)):
            table = table.cast_column(name, kind(decode=False))
    return table
