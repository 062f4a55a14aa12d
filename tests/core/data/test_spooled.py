import os
import pickle
from pathlib import Path

import pytest

from mmadapt.contracts import StreamedSource
from mmadapt.data.spooled import Spooled
from mmadapt.data.views import SwappedMedia, seeded_subset
from mmadapt.errors import DataError


class Bytes(StreamedSource):
    """Samples with media of bytes, counted as they are read."""

    def __init__(self, count=5):
        super().__init__(None)
        self.count, self.made = count, 0

    @property
    def shards(self):
        return ["one"]

    def read(self, shard):
        yield from range(self.count)

    def sample(self, record):
        self.made += 1
        media = [{"type": "image", "value": bytes([record]) * 1000, "start": 0.5}]
        media += [{"type": "audio", "path": "a.wav"}] * (record % 2)
        return {"id": str(record), "references": [f"r{record}"], "media": media}


def test_samples_are_those_of_the_stream_at_any_place_and_again():
    spooled, expected = Spooled(Bytes()), list(Bytes())
    assert spooled[3] == expected[3]
    assert len(spooled) == 5
    assert [spooled[n] for n in (4, 0, 0, 2)] == [expected[n] for n in (4, 0, 0, 2)]
    assert list(spooled) == expected
    with pytest.raises(IndexError):
        spooled[5]


def test_no_more_is_read_than_is_asked_for():
    source = Bytes(100)
    spooled = Spooled(source)
    assert [s["id"] for s, _ in zip(spooled, range(3), strict=False)] == ["0", "1", "2"]
    assert source.made <= 4
    part = seeded_subset(spooled, 10)
    assert len(part) == 10 and part[9]["id"] == "9" and source.made == 10
    assert len(seeded_subset(Spooled(Bytes(4)), 10)) == 4


def test_a_damaged_record_is_no_end_of_the_samples(monkeypatch):
    def failing(self, record):
        if record == 3:
            raise DataError("one", record, "is damaged")
        return {"id": str(record)}

    monkeypatch.setattr(Bytes, "sample", failing)
    spooled = Spooled(Bytes())
    for _ in range(2):
        with pytest.raises(DataError, match="one:3: is damaged"):
            len(spooled)
    assert spooled[2]["id"] == "2"


def test_two_samples_of_one_id_are_an_error(monkeypatch):
    def same(self, record):
        return {"id": str(record % 3), "origin": f"one:{record}"}

    monkeypatch.setattr(Bytes, "sample", same)
    spooled = Spooled(Bytes())
    assert spooled.count(3) == 3
    for _ in range(2):
        with pytest.raises(DataError, match=r"one:3 \(sample 0\): has the id of an earlier one"):
            len(spooled)


def test_media_lie_in_a_file_that_goes_with_the_object():
    spooled = Spooled(Bytes())
    assert len(spooled) == 5
    path = Path(spooled._path)
    assert path.stat().st_size == 5000
    assert not any("value" in part for s in spooled._samples for part in s["media"])
    del spooled
    assert not path.exists()


def test_a_forked_worker_leaves_the_file_alone():
    spooled = Spooled(Bytes())
    assert len(spooled) == 5
    child = os.fork()
    if child == 0:
        del spooled
        os._exit(0)
    os.waitpid(child, 0)
    assert spooled[2]["media"][0]["value"] == bytes([2]) * 1000


def test_it_travels_to_a_spawned_worker():
    spooled = Spooled(Bytes())
    assert len(spooled) == 5
    arrived = pickle.loads(pickle.dumps(spooled))
    assert list(arrived) == list(spooled)


def test_media_can_be_swapped():
    swapped = SwappedMedia(Spooled(Bytes(6)))
    own = [bytes([n]) * 1000 for n in range(6)]
    assert all(swapped[n]["media"][0]["value"] != own[n] for n in range(6))
