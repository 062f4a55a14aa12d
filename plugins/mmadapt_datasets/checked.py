"""Looking into text files before a library that says little of their mistakes, or dies of them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmadapt.errors import DataError
from mmadapt.json_text import NotJson, parse_json
from mmadapt_datasets.files import read_json, read_lines, read_text
from mmadapt_datasets.records import kind_of

MAX_BYTES = 2**30
"""Larger files are not looked into, but for the first so many bytes of jsonl."""
_README, _SETTINGS = "README.md", ".huggingface.yaml"
CARDS = [_README, _SETTINGS]
"""Where a dataset says which files it has."""
_PLACES = ("data_files", "data_dir")


def check_file(file: Path) -> None:
    """Looks into a csv, json or jsonl file; any other is passed over.

    The JSON reader of pyarrow (in version 24) ends the process where the first line is `null`, and
    the CSV reader of pandas fills the rest of a row that was cut with nothing. Of a jsonl file over
    `MAX_BYTES` the first so many are looked into.

    Raises:
        DataError: it is not what its name says, a row has another number of fields than the header,
            or a line is no record.
    """
    if file.suffix != ".jsonl" and file.stat().st_size > MAX_BYTES:
        return
    if file.suffix == ".csv":
        _check_csv(file)
    elif file.suffix in (".json", ".jsonl"):
        _check_json(file)


def check_files(names: Iterable[str]) -> None:
    """As `check_file`, for those names that are files here; others are passed over."""
    for name in names:
        if (file := Path(name)).is_file():
            check_file(file)


def check_places(path: Path, names: Iterable[str]) -> None:
    """Makes sure that a dataset's README names no file elsewhere, and no link leads there.

    Args:
        path: a folder; of a dataset of the hub any other.
        names: its files, as `datasets` has found them.

    Raises:
        DataError: one is an address, or lies outside the folder; of the hub, is not on the hub.
    """
    homes = [os.path.join(os.path.realpath(path), "")]
    if path.parent.name == "snapshots":  # the hub's cache, whose files are links to blobs
        homes.append(os.path.join(os.path.realpath(path.parent.parent / "blobs"), ""))
    for name in names:
        if path.is_dir():
            is_own = os.path.realpath(name).startswith(tuple(homes))
        else:
            is_own = name.startswith("hf://datasets/")
        if not is_own:
            reason = f"names {name}, which lies outside the dataset; copy it there"
            raise DataError(path, "README.md", reason)


def check_card(folder: Path, allowed: str = "") -> None:
    """Makes sure that a folder's README names no address, before `datasets` looks for one.

    It asks each address that its settings name for the files there are, so that to look at what it
    has found would be too late.

    Args:
        folder: with the README.
        allowed: how an address may begin; none may by default.

    Raises:
        DataError: one of the files or folders that it names is an address.
        ValueError: its settings are no YAML.
    """
    import yaml
    from huggingface_hub import DatasetCard

    settings: list[tuple[str, Any]] = []
    if (folder / _README).is_file():
        card = DatasetCard.load(folder / _README).data.to_dict()
        settings.append((_README, card.get("configs")))
    if (file := folder / _SETTINGS).exists():  # laid over those of the README
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        settings.append((_SETTINGS, content.get("configs") if isinstance(content, dict) else None))
    for name, configs in settings:
        for config in configs if isinstance(configs, list) else ():
            places = [config.get(key) for key in _PLACES] if isinstance(config, dict) else []
            for place in _texts(places):
                own = allowed and place.startswith(allowed) and "::" not in place
                if not own and ("://" in place or "::" in place):
                    reason = f"names {place}, which lies outside the dataset; copy it there"
                    raise DataError(folder, name, reason)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in (*value, *value.values()):
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


def _check_csv(file: Path) -> None:
    reader = csv.reader(io.StringIO(read_text(file)[1], newline=""), strict=True)
    try:
        width = len(next(reader, []))
        for row in reader:
            if row and len(row) != width:
                reason = f"has {len(row)} fields for {width} columns; put texts with commas in"
                raise DataError(file, reader.line_num, f'{reason} "quotes"')
    except csv.Error as error:
        raise DataError(file, reader.line_num, f"is not CSV: {error}") from error


def _check_json(file: Path) -> None:
    """Checks line by line, so that memory holds one; a list or an object over many lines whole."""
    is_first, left = True, MAX_BYTES
    for number, line in read_lines(file):
        left -= len(line)
        if left < 0:
            return
        if not line.strip():
            continue
        if is_first and line.lstrip().startswith("["):
            _check_whole(file)
            return
        try:
            _check_record(file, number, parse_json(line))
        except NotJson as error:
            if is_first and file.suffix == ".json":
                _check_whole(file)
                return
            raise DataError(file, number, str(error)) from error
        is_first = False


def _check_whole(file: Path) -> None:
    content = read_json(file)[1]
    for place, value in enumerate(content if isinstance(content, list) else [content]):
        _check_record(file, f"[{place}]", value)


def _check_record(file: Path, place: int | str, value: Any) -> None:
    if not isinstance(value, dict):
        raise DataError(file, place, f"is {kind_of(value)}, not an object")
