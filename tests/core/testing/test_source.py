"""The contract of sources: a sound one passes, and every flaw is told."""

from __future__ import annotations

import random

import pytest
from pydantic import BaseModel

from mmadapt.contracts import Source
from mmadapt.errors import DataError
from mmadapt.testing import SourceContract
from mmadapt.testing.samples import sample_problems
from tests.core.testing.flaws import names_of, verdict


class Lines(BaseModel):
    path: str


class Sound(Source):
    """A caption a line, all of one picture."""

    Config = Lines

    def __init__(self, config):
        super().__init__(config)
        with open(config.path) as file:
            self.lines = file.read().splitlines()

    def __len__(self):
        return len(self.lines)

    def __getitem__(self, index):
        if not self.lines[index]:
            raise DataError(self.config.path, index + 1, "is empty")
        media = [{"type": "image", "path": self.config.path}]
        return {"id": str(index), "target": self.lines[index], "media": media}


class TestSound(SourceContract):
    source = Sound

    def config(self):
        (self.folder / "captions.txt").write_text("one\ntwo\nthree\nfour\n")
        return Lines(path=str(self.folder / "captions.txt"))

    def damaged(self):
        (self.folder / "bad.txt").write_text("one\n\nthree\n")
        return Lines(path=str(self.folder / "bad.txt")), ["bad.txt", "2"]


class Changed(Sound):
    def change(self, sample, index):
        raise AssertionError

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return self.change(sample, index) or sample


class Twins(Changed):
    def change(self, sample, index):
        sample["id"] = str(index // 2)


class Numbers(Changed):
    def change(self, sample, index):
        sample["id"] = index


class Gone(Changed):
    def change(self, sample, index):
        sample["media"][0]["path"] += ".gone"


class Drawn(Changed):
    def change(self, sample, index):
        sample["target"] = random.choice("abcdefghijkl")


class Reader(Sound):
    """Reads on, whatever index it is given."""

    def __init__(self, config):
        super().__init__(config)
        self.place = -1

    def __getitem__(self, index):
        self.place = (self.place + 1) % len(self)
        return super().__getitem__(self.place)


class Open(Sound):
    def __init__(self, config):
        super().__init__(config)
        self.file = open(config.path)  # noqa: SIM115


class Long(Sound):
    def __len__(self):
        return len(self.lines) + 1

    def __iter__(self):
        return (self[i] for i in range(len(self.lines)))


class Silent(Sound):
    def __getitem__(self, index):
        return {"id": str(index), "target": self.lines[index]}


class Raw(Sound):
    def __getitem__(self, index):
        try:
            return super().__getitem__(index)
        except DataError as error:
            raise KeyError("caption") from error


class Vague(Sound):
    def __getitem__(self, index):
        try:
            return super().__getitem__(index)
        except DataError as error:
            raise DataError("the file", None, "is bad") from error


FLAWS = [
    (Long, "length", "len says 5"),
    (Numbers, "samples_are_well_formed", "'id' is 0, not a text"),
    (Gone, "samples_are_well_formed", "does not exist"),
    (Twins, "ids_are_unique", "['0', '1']"),
    (Drawn, "a_sample_does_not_depend_on_what_was_read_before", "another one"),
    (Reader, "a_sample_does_not_depend_on_what_was_read_before", "another one"),
    (Silent, "a_damaged_record_names_itself", "read without any error"),
    (Raw, "a_damaged_record_names_itself", "raise a DataError with file, record and reason"),
    (Vague, "a_damaged_record_names_itself", "does not name ['bad.txt', '2']"),
]


@pytest.mark.parametrize(("source", "test", "message"), FLAWS)
def test_a_flaw_is_told(source, test, message, tmp_path):
    found = verdict(TestSound, f"test_{test}", tmp_path, source=source)
    assert found is not None, "the flaw passes"
    assert message in found


def test_a_source_that_does_not_pickle(tmp_path):
    with pytest.raises(TypeError, match="pickle"):
        verdict(TestSound, "test_it_travels_to_loader_workers", tmp_path, source=Open)


def test_every_test_of_the_contract_has_its_flaw():
    told = {f"test_{test}" for _, test, _ in FLAWS} | {"test_it_travels_to_loader_workers"}
    assert told == set(names_of(SourceContract))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"captions": ["a"]}, "unknown keys ['captions']"),
        ({"prompt": 3}, "'prompt' is int, not text"),
        ({"references": "a"}, "not a list of texts"),
        ({"answers": ["a"], "answer_weights": [1.0, 2.0]}, "2 answer_weights for 1 answers"),
        ({"answers": ["a"], "answer_weights": [0.0]}, "not all above 0"),
        ({"answers": ["a"], "choices": ["b"]}, "not all among the choices"),
        ({"messages": ["hello"]}, "needs 'role' and 'content'"),
        ({"meta": ["a"]}, "'meta' is not a dictionary"),
        ({"media": ["a.png"]}, "a media part is 'a.png'"),
        ({"media": [{"type": "text", "value": 1}]}, "of type 'text'"),
        ({"media": [{"type": "image", "value": 1, "path": "a"}]}, "either 'path' or 'value'"),
        ({"media": [{"type": "image", "path": b"a"}]}, "a media path is bytes"),
        ({"media": [{"type": "audio", "value": 1, "url": "a"}]}, "unknown keys ['url']"),
        ({"media": [{"type": "audio", "value": 1, "start": 3, "end": 2}]}, "after its end at 2 s"),
        ({"prompt": "<media> and <media>", "media": [{"type": "image", "value": 1}]}, "2 <media>"),
    ],
)
def test_a_malformed_sample(change, problem):
    [found] = sample_problems({"id": "1", **change})
    assert problem in found
