"""Spoken digits: file names become samples; what is not there is told with what is."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from mmadapt.data.media import read_audio
from mmadapt.errors import DataError
from mmadapt.registry import get_registry
from mmadapt_fsdd.source import WORDS, FsddConfig, FsddSource

SPEAKERS = ("george", "jackson", "lucas")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three speakers, ten digits, eleven takes of each."""
    folder = tmp_path_factory.mktemp("fsdd")
    (folder / "recordings").mkdir()
    for digit in range(10):
        for speaker in SPEAKERS:
            for index in range(11):
                tone = np.full(400, (digit + 1) / 20, np.float32)
                soundfile.write(folder / f"recordings/{digit}_{speaker}_{index}.wav", tone, 8000)
    (folder / "recordings/readme.txt").write_text("spoken digits")
    (folder / "recordings/0_george_0.flac").write_text("another format")
    return folder


def source(folder, **options) -> FsddSource:
    return FsddSource(FsddConfig(path=str(folder), **options))


def test_a_file_name_says_everything_of_a_sample(folder):
    everything = source(folder)
    assert len(everything) == 10 * 3 * 11
    sample = next(sample for sample in everything if sample["id"] == "7_lucas_10")
    assert sample["target"] == "seven" and sample["references"] == sample["answers"] == ["seven"]
    assert sample["choices"] == list(WORDS) and sample["prompt"] is None
    assert sample["meta"] == {"speaker": "lucas", "index": 10}
    (part,) = sample["media"]
    assert part["type"] == "audio"
    heard = read_audio(part["path"], sampling_rate=8000)
    np.testing.assert_allclose(heard, 0.4, atol=1e-4)  # 16 bits


def test_the_folder_of_the_recordings_itself_serves_too(folder):
    ids = [[sample["id"] for sample in source(path)] for path in (folder, folder / "recordings")]
    assert ids[0] == ids[1]


def test_speakers_and_indices_select(folder):
    chosen = source(folder, speakers=["jackson", "george"], indices="5:")
    assert {s["meta"]["speaker"] for s in chosen} == {"jackson", "george"}
    assert {s["meta"]["index"] for s in chosen} == {5, 6, 7, 8, 9, 10}
    assert len(chosen) == 2 * 6 * 10
    assert {s["meta"]["index"] for s in source(folder, indices=":5")} == {0, 1, 2, 3, 4}
    assert {s["meta"]["index"] for s in source(folder, indices="2:4")} == {2, 3}


def test_indices_are_numbers_not_text(folder):
    order = [s["meta"]["index"] for s in source(folder, speakers=["lucas"])]
    assert order == sorted(order) and order[-1] == 10


def test_a_limit_is_fair_to_digits_and_speakers(folder):
    limited = source(folder, limit=30)
    assert len({s["target"] for s in limited}) == 10
    assert len({(s["target"], s["meta"]["speaker"]) for s in limited}) == 30


def test_what_is_missing_is_told_with_what_is_there(folder, tmp_path):
    with pytest.raises(DataError, match="nowhere: does not exist; `path` must name"):
        source(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a file"):
        source(folder / "recordings/readme.txt")
    with pytest.raises(DataError, match=r"no recordings named like .*; it has nothing"):
        source(tmp_path)
    (tmp_path / "one.wav").write_text("")
    with pytest.raises(DataError, match=r"it has one\.wav"):
        source(tmp_path)
    with pytest.raises(DataError, match=r"'gorge'; it has george, jackson, lucas; .*'george'"):
        source(folder, speakers=["lucas", "gorge"])
    with pytest.raises(DataError, match=r"no recordings with indices '50:'; they are 0-10"):
        source(folder, indices="50:")


@pytest.mark.parametrize(
    "options", [{"speakers": []}, {"indices": "-5:"}, {"indices": "7"}, {"limit": 0}, {"split": 1}]
)
def test_options_are_checked(options):
    with pytest.raises(ValidationError):
        FsddConfig(path="x", **options)


def test_the_source_is_announced():
    assert get_registry().get("source", "fsdd").load() is FsddSource
