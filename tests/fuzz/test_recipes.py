"""A twentieth of the fuzzer's recipes; `python -m tests.fuzz.recipes` reads them all."""

import pytest

from mmadapt.recipe import parts
from tests.fuzz.mutations import KINDS
from tests.fuzz.recipes import run, table


def test_damaged_recipes():
    outcomes = run(count=250, seed=0, limit=5)  # on a busy machine
    assert not [(item.case, item.faults) for item in outcomes if item.faults]
    assert {item.result for item in outcomes} == {"loaded", "refused"}
    assert {item.case.kind for item in outcomes} == {*KINDS, "overrides"}
    assert table(outcomes).splitlines()[-1].startswith("| all | 250 |")


def raise_another_error(checker):
    raise ValueError("unforeseen")


def open_a_file(checker):
    with open("/etc/hostname"):
        pass


def say_nothing_of_the_place(checker):
    checker.add((), "wrong")
    checker.problems[-1] = type(checker.problems[-1])("recipe", 0, 0, "", "wrong")


def meet_it_in_the_handler_of_anything(checker):
    parts.first_line(ValueError("unforeseen"))


@pytest.mark.parametrize(
    ("breach", "fault"),
    [
        (raise_another_error, "ValueError: unforeseen"),
        (open_a_file, "open /etc/hostname"),
        (say_nothing_of_the_place, "no place: recipe: wrong"),
        (meet_it_in_the_handler_of_anything, "met by the handler of anything"),
    ],
)
def test_the_fuzzer_sees_a_breach(breach, fault, monkeypatch):
    good = parts.PartChecker.unfreeze

    def broken(checker):
        if str(checker.node.place.file).endswith("fuzzed.yaml"):
            breach(checker)
        good(checker)

    monkeypatch.setattr(parts.PartChecker, "unfreeze", broken)
    outcomes = run(count=25, seed=0)
    assert any(text.startswith(fault) for item in outcomes for text in item.faults)
