import hashlib
import os
import pickle

import pytest

from mmadapt.data.features import contents as module
from mmadapt.data.features.contents import Contents


@pytest.fixture
def hashed(monkeypatch):
    """Files that were read in full."""
    real, read = module.hashlib.file_digest, []

    def counted(stream, name):
        read.append(os.path.basename(stream.name))
        return real(stream, name)

    monkeypatch.setattr(module.hashlib, "file_digest", counted)
    return read


def part(path, content, age=100.0):
    path.write_bytes(content)
    stamp = path.stat().st_mtime - age
    os.utime(path, (stamp, stamp))
    return {"type": "image", "path": str(path)}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    # The time of change cannot be set back, so files would count as fresh.
    monkeypatch.setattr(module, "_FRESH_SECONDS", -1.0)


def test_the_content_is_what_counts(tmp_path):
    known = Contents(None)
    one, twin = (part(tmp_path / name, b"same") for name in ("a", "b"))
    assert known.of(one) == known.of(twin) == hashlib.sha256(b"same").hexdigest()
    assert known.of({"type": "image", "value": b"same"}) == known.of(one)
    assert known.of(part(tmp_path / "c", b"other")) != known.of(one)


def test_what_has_no_content_has_no_name(tmp_path):
    known = Contents(tmp_path / "db")
    assert known.of({"type": "image", "path": str(tmp_path / "missing")}) is None
    assert known.of({"type": "image", "path": "nul\0byte"}) is None
    assert known.of({"type": "image", "value": object()}) is None


def test_a_file_is_read_once_by_all_processes(tmp_path, hashed):
    one, known = part(tmp_path / "a", b"1"), Contents(tmp_path / "db")
    name = known.of(one)
    known.save()
    for other in (known, Contents(tmp_path / "db"), pickle.loads(pickle.dumps(known))):
        assert other.of(one) == name
    assert hashed == ["a"]


def test_a_changed_file_is_read_again(tmp_path, hashed):
    known = Contents(tmp_path / "db")
    before = known.of(part(tmp_path / "a", b"1"))
    known.save()
    changed = part(tmp_path / "a", b"2", age=50)
    assert known.of(changed) != before and Contents(tmp_path / "db").of(changed) != before
    assert hashed == ["a", "a", "a"]


def test_a_file_of_this_moment_is_not_remembered_on_disk(tmp_path, hashed, monkeypatch):
    monkeypatch.setattr(module, "_FRESH_SECONDS", 2.0)
    one, known = part(tmp_path / "a", b"1", age=0), Contents(tmp_path / "db")
    known.of(one), known.of(one)
    known.save()
    assert hashed == ["a"]
    Contents(tmp_path / "db").of(one)
    assert hashed == ["a", "a"]


def test_unknown_files_are_left_alone_where_that_is_asked(tmp_path, hashed):
    known = Contents(tmp_path / "db")
    one = part(tmp_path / "a", b"1")
    assert known.of(one, read=False) is None and hashed == []
    assert known.of(one) == known.of(one, read=False)


def test_a_database_that_is_none_costs_speed_only(tmp_path, hashed):
    (tmp_path / "db").write_bytes(b"this is no database" * 100)
    one = part(tmp_path / "a", b"1")
    names = {Contents(tmp_path / "db").of(one) for _ in range(2)}
    assert names == {hashlib.sha256(b"1").hexdigest()} and hashed == ["a", "a"]
