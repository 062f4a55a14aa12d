import json

import pytest

from mmadapt.data.items import Failed
from mmadapt.data.quarantine import Quarantine
from mmadapt.errors import DataError, MediaError, MMAdaptError


def unreadable(index, path=None, sample=None):
    error = MediaError(path or f"{index}.mp4", "the file is empty", "video", "Fetch it again.")
    return Failed(index, sample or f"s{index}", error, "unreadable")


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_is_named_once_with_reason_split_and_step(tmp_path, capsys):
    path = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine(path, 0.5)
    quarantine.step, quarantine.epoch = 7, 0.25
    watch = quarantine.watch("train", 10)
    watch.add([unreadable(1), unreadable(2, "1.mp4"), unreadable(1)])
    quarantine.watch("test", 10).add([unreadable(4, "1.mp4"), unreadable(5)])
    assert records(path) == [
        {"id": f"s{i}", "file": f"{i}.mp4", "reason": "the file is empty", "split": split,
         "step": 7, "epoch": 0.25}
        for i, split in ((1, "train"), (5, "test"))
    ]  # fmt: skip
    assert capsys.readouterr().err.count("1.mp4: cannot read video") == 1
    assert quarantine.counts()["train"] == {"unreadable_files": 1, "too_long": 0, "truncated": 0}
    assert quarantine.counts()["test"]["unreadable_files"] == 2


def test_a_resumed_run_names_no_file_again(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    Quarantine(path, 0.5).watch("train", 10).add([unreadable(1)])
    path.write_text(path.read_text() + '{"id": "s9", "fi')  # killed in the middle of a line
    again = Quarantine(path, 0.5)
    again.watch("train", 10).add([unreadable(1), unreadable(2)])
    text = path.read_text()
    assert text.count("1.mp4") == 1 and json.loads(text.splitlines()[-1])["file"] == "2.mp4"


def test_a_line_may_be_cut_within_a_letter(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    Quarantine(path, 0.5).watch("train", 10).add([unreadable(1, "é.mp4")])
    path.write_bytes(path.read_bytes().partition("é".encode())[0] + "é".encode()[:1])
    Quarantine(path, 0.5).watch("train", 10).add([unreadable(2)])
    assert json.loads(path.read_bytes().splitlines()[-1])["file"] == "2.mp4"


def test_the_run_ends_when_too_large_a_share_is_bad(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    watch = Quarantine(path, 0.4).watch("validation", 10)
    watch.add([unreadable(i) for i in range(4)])
    watch.add([unreadable(0)])  # met again
    with pytest.raises(DataError) as raised:
        watch.add([unreadable(4)])
    text = str(raised.value)
    assert text.startswith("data.validation: 5 of 10 samples cannot be read, more than data.max_")
    assert "max_bad_share=0.4 tolerates: 0.mp4: cannot read video: the file is empty" in text
    assert "2.mp4" in text and "3.mp4" not in text and str(path) in text
    assert len(records(path)) == 5


def test_by_default_the_first_one_ends_the_run():
    with pytest.raises(DataError, match=r"1 of 300 samples .*7\.mp4"):
        Quarantine().watch("train", 300).add([unreadable(7)])


def test_each_pass_has_its_own_share():
    quarantine = Quarantine(None, 0.1)
    for _ in range(3):
        quarantine.watch("validation", 10).add([unreadable(1)])
    with pytest.raises(DataError):
        quarantine.watch("validation", 9).add([unreadable(1)])


def test_samples_that_are_skipped_or_cut_are_counted_and_no_files_are_named(tmp_path, capsys):
    quarantine = Quarantine(tmp_path / "quarantine.jsonl")
    watch = quarantine.watch("train", 4)
    error = DataError("sample", "s", "is long")
    watch.add([Failed(i, f"s{i}", error, "too_long") for i in (1, 2, 1)])
    watch.add([Failed(3, "s3", error, "truncated")])
    told = capsys.readouterr().err.splitlines()
    assert told == ["data.train: sample:s: is long; further ones are counted in metrics.json"] * 2
    assert quarantine.counts() == {"train": {"unreadable_files": 0, "too_long": 2, "truncated": 1}}
    assert quarantine.summary() == ["data.train: 2 samples too long and left out, 1 prompts cut"]
    assert Quarantine().summary() == []
    assert not (tmp_path / "quarantine.jsonl").exists()


def test_a_wrong_sample_is_an_error_at_once():
    error = DataError("sample", "s1", "has no target")
    with pytest.raises(DataError, match="s1: has no target"):
        Quarantine(None, 1.0).watch("train", 4).add([Failed(1, "s1", error)])


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    quarantine = Quarantine(tmp_path, 1.0)  # a folder
    with pytest.raises(MMAdaptError, match="cannot be written"):
        quarantine.watch("train", 4).add([unreadable(1)])
