"""A twentieth of the damaged adapters and files; `python -m tests.fuzz.adapters` takes all."""

import pytest

from mmadapt.adapters import checkpoint
from mmadapt_jsonl.record import RecordReader
from tests.fuzz.adapters import run, table
from tests.fuzz.damages import ADAPTERS, JSONL


def test_damaged_adapters_and_files():
    outcomes = run(count=500, seed=0)
    assert not [(item.kind, item.number, item.faults) for item in outcomes if item.faults]
    assert {item.result for item in outcomes} == {"loaded", "refused"}
    assert {item.kind for item in outcomes} == {*ADAPTERS, *JSONL}
    assert table(outcomes).splitlines()[-1].startswith("| all | 500 |")


def trust_every_path(monkeypatch):
    monkeypatch.setattr(RecordReader, "_path", lambda self, line, key, value: str(value))


def change_before_checking(monkeypatch):
    check = checkpoint.check_bases

    def late(folder, now):
        for number in (1, 2):
            (folder / f"stray{number}").write_text("")
        check(folder, now)

    monkeypatch.setattr(checkpoint, "check_bases", late)


def read_strange_fingerprints(monkeypatch):
    check = checkpoint.check_bases

    def careless(folder, now):
        if folder.name == "adapter":  # a damaged one
            raise KeyError("weights")
        check(folder, now)

    monkeypatch.setattr(checkpoint, "check_bases", careless)


@pytest.mark.parametrize(
    ("breach", "fault"),
    [
        (trust_every_path, "medium "),
        (change_before_checking, "write "),
        (read_strange_fingerprints, "KeyError: 'weights'"),
    ],
)
def test_the_fuzzer_sees_a_breach(breach, fault, monkeypatch):
    breach(monkeypatch)
    outcomes = run(count=60, seed=1)
    assert any(text.startswith(fault) for item in outcomes for text in item.faults)
