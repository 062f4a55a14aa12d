"""A seeded twentieth of the thousand damaged files, and that the count would tell."""

import pytest

from mmadapt.data.media.reader import shared_reader
from mmadapt.errors import MediaError
from tests.media import damage


@pytest.fixture(scope="module")
def outcomes():
    return damage.run(count=50, seed=1)


def test_every_damaged_file_is_read_or_refused_with_a_reason(outcomes):
    assert len(outcomes) == 50 and damage.unexplained(outcomes) == []
    assert {outcome.result for outcome in outcomes} == {"ok", "refused"}
    assert max(outcome.seconds for outcome in outcomes) < damage.LIMIT


def test_the_table_counts_every_file(outcomes):
    last = damage.table(outcomes).splitlines()[-1].split("|")
    ok = sum(outcome.result == "ok" for outcome in outcomes)
    assert [cell.strip() for cell in last[1:7]] == ["all", "50", f"{ok}", f"{50 - ok}", "0", "0"]


def test_the_files_are_a_function_of_the_seed(tmp_path):
    written = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        made = list(damage.cases(tmp_path / name, 20, seed))
        # containers hold random track numbers and dates; pictures and plain sounds do not
        plain = [case for case in made if case.format in (*damage.IMAGES, "wav", "flac")]
        written.append([(case.path.name, case.way, case.path.read_bytes()) for case in plain])
    assert written[0] == written[1] != written[2]


@pytest.mark.parametrize(
    ("reason", "result"),
    [("no end after 20 s, the time limit", "hang"), ("the decoder crashed (Killed)", "crash")],
)
def test_hangs_and_crashes_would_be_told(tmp_path, monkeypatch, reason, result):
    def lost(path):
        raise MediaError(path, reason, "image")

    monkeypatch.setitem(damage.READERS, "image", lost)
    case = damage.Case(tmp_path / "a.png", "image", "png", "truncated")
    outcome = damage.read(case)
    assert outcome.result == result and damage.unexplained([outcome]) == [outcome]


def test_a_reader_process_that_is_replaced_counts_as_a_crash(tmp_path, monkeypatch):
    [case] = damage.cases(tmp_path, 1, 0)
    damage.read(case)

    def replaced(path):
        shared_reader().close()
        raise MediaError(path, "something", "image")

    monkeypatch.setitem(damage.READERS, "image", replaced)
    assert damage.read(case).result == "crash"
