"""Every promise names a test that is there, and every fault is in the table."""

import re
from pathlib import Path

import pytest

from tests.reliability.faults import FAULTS
from tests.reliability.parts import ROOT

TABLES = ("docs/reliability.md", "SECURITY.md")
NAMED = re.compile(r"`([\w/]+\.(?:py|sh)|[\w/]+/)((?: \w+)*)`")


def rows(document):
    """The promise and the tests of every row that names one."""
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    cells = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    return [(row[0], NAMED.findall(row[-1])) for row in cells if "`" in row[-1] and len(row) > 1]


@pytest.mark.parametrize("document", TABLES)
def test_every_test_that_a_promise_names_is_there(document):
    found, before = rows(document), ""
    named = [(promise, *one) for promise, tests in found for one in tests]
    assert len(named) > 10
    for promise, name, faults in named:
        place = Path("tests") / name
        if "/" not in name and not (ROOT / place).exists():
            place = Path(before).parent / name  # beside the one named before it
        assert (ROOT / place).exists(), f"{promise}: {name}"
        assert set(faults.split()) <= set(FAULTS), promise
        before = str(place)


def test_every_promise_names_a_test():
    table = (ROOT / "docs/reliability.md").read_text(encoding="utf-8").split("\n\n")[2]
    for line in table.splitlines()[2:]:
        assert NAMED.search(line.rpartition(" | ")[2]), line


def test_every_fault_is_promised_and_in_its_table():
    promised = {
        name for _, tests in rows("docs/reliability.md") for _, f in tests for name in f.split()
    }
    assert promised == set(FAULTS)
    shown = (ROOT / "docs/reliability/faults.md").read_text(encoding="utf-8")
    for fault in FAULTS.values():
        assert f"| {fault.__doc__} | " in shown, fault.__doc__
    assert "BAD" not in shown
