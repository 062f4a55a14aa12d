"""Errors about a sample that name the record it was read from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmadapt.errors import DataError
from mmadapt.types import Sample

_NAMELESS = ("sample", "metric")  # what heads and metrics call a file that they do not know


def place(sample: Sample) -> str:
    """Where a sample stands, as errors call it: file and record, or its id where it says nothing.

    Example:
        >>> place({"id": "9", "origin": "train.jsonl:4"}), place({"id": "9"})
        ('train.jsonl:4 (sample 9)', 'sample 9')
    """
    origin = sample.get("origin")
    if not origin:
        return f"sample {sample['id']}"
    return origin if origin.endswith(f":{sample['id']}") else f"{origin} (sample {sample['id']})"


@contextmanager
def located(sample: Sample) -> Iterator[None]:
    """Errors from inside that know no more than the sample's id name its file and record too.

    Raises:
        DataError: from inside, with the place of the sample.
    """
    try:
        yield
    except DataError as error:
        if error.file not in _NAMELESS or not sample.get("origin"):
            raise
        raise type(error)(place(sample), None, error.reason) from error
