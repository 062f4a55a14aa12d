"""The contract of streamed sources: a sound one passes, and every flaw is told."""

from __future__ import annotations

import random

import pytest
from pydantic import BaseModel

from mmadapt.contracts import StreamedSource
from mmadapt.errors import DataError
from mmadapt.testing import StreamedSourceContract
from tests.core.testing.flaws import names_of, verdict


class Lines(BaseModel):
    paths: list[str]


class Sound(StreamedSource):
    """A caption a line; a file is a shard."""

    Config = Lines

    @property
    def shards(self):
        return self.config.paths

    def read(self, shard):
        with open(self.shards[shard]) as file:
            for number, line in enumerate(file):
                yield self.shards[shard], number, line.strip()

    def sample(self, record):
        path, number, text = record
        if not text:
            raise DataError(path, number + 1, "is empty")
        return {"id": f"{path}:{number}", "target": text, "media": []}


class TestSound(StreamedSourceContract):
    source = Sound

    def config(self):
        for name, text in (("a", "one\ntwo\n"), ("b", "three\nfour\n")):
            (self.folder / name).write_text(text)
        return Lines(paths=[str(self.folder / name) for name in "ab"])

    def damaged(self):
        (self.folder / "bad.txt").write_text("one\n\nthree\n")
        return Lines(paths=[str(self.folder / "bad.txt")]), ["bad.txt", "2"]


class Twins(Sound):
    def sample(self, record):
        return {**super().sample(record), "id": str(record[1])}


class Numbers(Sound):
    def sample(self, record):
        return {**super().sample(record), "id": record[1]}


class Drawn(Sound):
    def sample(self, record):
        return {**super().sample(record), "target": random.choice("abcdefghijkl")}


class Once(Sound):
    """Reads on in one file handle."""

    def __init__(self, config):
        super().__init__(config)
        self.readers = {}

    def read(self, shard):
        return self.readers.setdefault(shard, super().read(shard))


class Current(Sound):
    """Makes samples of whatever was read last."""

    def read(self, shard):
        for record in super().read(shard):
            self.last = record
            yield record

    def sample(self, record):
        return super().sample(self.last)


class Open(Sound):
    def __init__(self, config):
        super().__init__(config)
        self.file = open(config.paths[0])  # noqa: SIM115


class Miscounted(Sound):
    length = 7


class Silent(Sound):
    def sample(self, record):
        return {"id": f"{record[0]}:{record[1]}", "target": record[2]}


class Raw(Sound):
    def sample(self, record):
        try:
            return super().sample(record)
        except DataError as error:
            raise KeyError("caption") from error


FLAWS = [
    (Miscounted, "shards_hold_the_samples_in_order", "length says 7"),
    (Numbers, "samples_are_well_formed", "'id' is 0, not a text"),
    (Twins, "ids_are_unique", "['0', '1']"),
    (Drawn, "a_shard_can_be_read_again_and_beside_itself", "gives other samples"),
    (Once, "a_shard_can_be_read_again_and_beside_itself", "gives other samples"),
    (Current, "records_can_be_kept", "gives another sample"),
    (Silent, "a_damaged_record_names_itself", "read without any error"),
    (Raw, "a_damaged_record_names_itself", "raise a DataError with shard, record and reason"),
]


@pytest.mark.parametrize(("flawed", "test", "told"), FLAWS, ids=lambda x: getattr(x, "__name__", x))
def test_a_flaw_is_told(tmp_path, flawed, test, told):
    message = verdict(TestSound, f"test_{test}", tmp_path, source=flawed)
    assert message is not None and told in message


def test_what_does_not_travel_is_told(tmp_path):
    with pytest.raises(TypeError, match="pickle"):
        verdict(TestSound, "test_it_travels_to_loader_workers", tmp_path, source=Open)


def test_a_sound_one_passes(tmp_path):
    for name in names_of(TestSound):
        assert verdict(TestSound, name, tmp_path) is None, name
