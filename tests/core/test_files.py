import json

import pytest

from mmadapt.errors import MMAdaptError
from mmadapt.files import prepare_output, write_json, write_jsonl, write_text


def test_files_are_written_whole(tmp_path):
    write_json(tmp_path / "a.json", {"k": "ü"})
    write_jsonl(tmp_path / "b.jsonl", [{"n": 1}, {"n": 2}])
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"k": "ü"}
    assert (tmp_path / "b.jsonl").read_text() == '{"n": 1}\n{"n": 2}\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "b.jsonl"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmadapt.files.os.replace", full)
    with pytest.raises(MMAdaptError, match=r"a\.txt: cannot be written: No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    assert prepare_output(tmp_path / "new" / "er").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(MMAdaptError, match="file"):
        prepare_output(tmp_path / "file")
    with pytest.raises(MMAdaptError, match="cannot be created"):
        prepare_output(tmp_path / "file" / "inner")
