"""Records of published files, whose every mistake names the file and the record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmadapt.errors import DataError, did_you_mean


class Record:
    """One record of a file, whose fields are checked as they are read.

    Args:
        file: where it stands.
        key: its id or place there, for error messages.
        values: its fields.

    Raises:
        DataError: it is not a mapping, or (on reading a field) that is missing or of another type.

    Example:
        >>> Record(Path("a.json"), "annotations[0]", {"caption": "a dog"}).text("caption")
        'a dog'
    """

    def __init__(self, file: Path, key: str, values: Any) -> None:
        self.file, self.key = file, key
        if not isinstance(values, dict):
            raise self.fail(f"is {kind_of(values)}, not an object")
        self.values: dict[str, Any] = values

    @property
    def place(self) -> str:
        """The file and the record in it."""
        return f"{self.file}:{self.key}"

    def fail(self, reason: str) -> DataError:
        """The error that names this record."""
        return DataError(self.file, self.key, reason)

    def get(self, name: str, kind: type | tuple[type, ...], called: str) -> Any:
        """A field of a type; `true` and `false` are no numbers."""
        if name not in self.values:
            near = did_you_mean(name, self.values)
            raise self.fail(f"lacks '{name}'" + (f"; {near}" if near else ""))
        value = self.values[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.fail(f"'{name}' must be {called}, not {kind_of(value)}")
        return value

    def text(self, name: str) -> str:
        """A text that says something."""
        value = self.get(name, str, "text")
        if not value.strip():
            raise self.fail(f"'{name}' is empty")
        return value

    def number(self, name: str) -> int:
        """A whole number."""
        return self.get(name, int, "a whole number")

    def identity(self, name: str) -> str:
        """An id: a text or a whole number."""
        value = self.get(name, (str, int), "text or a whole number")
        if value == "":
            raise self.fail(f"'{name}' is empty")
        return str(value)

    def items(self, name: str) -> list[Any]:
        """A list with something in it."""
        value = self.get(name, list, "a list")
        if not value:
            raise self.fail(f"'{name}' is an empty list")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        values = self.items(name)
        for place, value in enumerate(values):
            if not isinstance(value, str):
                raise self.fail(f"'{name}[{place}]' must be text, not {kind_of(value)}")
        return values

    def records(self, name: str) -> list[Record]:
        """A list of records."""
        return [
            Record(self.file, f"{self.key}.{name}[{place}]", value)
            for place, value in enumerate(self.items(name))
        ]


class Whole(Record):
    """A file that is one record, so that its fields are named without a place in it."""

    def __init__(self, file: Path, values: dict[str, Any]) -> None:
        super().__init__(file, "", values)

    def fail(self, reason: str) -> DataError:
        """The error that names the file."""
        return DataError(self.file, None, reason)

    def records(self, name: str) -> list[Record]:
        """A list of records, called `name[0]`, `name[1]`, ..."""
        return [
            Record(self.file, f"{name}[{place}]", value)
            for place, value in enumerate(self.items(name))
        ]


def iterate(record: Record) -> Iterator[Record]:
    """The records of an object whose keys are their ids."""
    for key, value in record.values.items():
        yield Record(record.file, str(key), value)


def index_by(records: Iterable[Record], name: str) -> Mapping[str, Record]:
    """Records by their id.

    Raises:
        DataError: two have the same.
    """
    found: dict[str, Record] = {}
    for record in records:
        identity = record.identity(name)
        if identity in found:
            raise record.fail(f"has the {name} {identity} of {found[identity].key}")
        found[identity] = record
    return found


def refuse_repeated(records: Iterable[Record], name: str) -> None:
    """Makes sure that an id, where records have one, is theirs alone.

    Raises:
        DataError: two have the same.
    """
    index_by((record for record in records if name in record.values), name)


def fill(template: str, record: Record, fields: Iterable[str]) -> str:
    """A file name such as `{youtube_id}.wav` with a record's fields in it."""
    for name in fields:
        if f"{{{name}}}" in template:
            template = template.replace(f"{{{name}}}", record.identity(name))
    return template


def kind_of(value: Any) -> str:
    """How JSON calls the type of a value."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
