"""A sample of the matrix in which every two of its values meet, and that the sample is one.

The whole matrix takes minutes: `python tests/matrix/run.py --output docs/matrix.md`.
"""

from __future__ import annotations

import dataclasses
from itertools import combinations, product
from pathlib import Path

import pytest

from mmadapt.registry import get_registry
from mmadapt.testing import FusionContract
from tests.matrix.cells import Cell, invariants, is_possible
from tests.matrix.covering import covering_rows
from tests.matrix.parts import ENCODERS, FAMILIES, FUSIONS, INVARIANTS, LEFT_OUT

FACTORS = [list(FUSIONS), list(ENCODERS), list(FAMILIES), list(INVARIANTS)]


def possible(row):
    fusion, encoder, _, invariant = row
    return is_possible(fusion, encoder) and invariant in invariants(encoder)


ROWS = covering_rows(FACTORS, possible)


@pytest.mark.parametrize("row", ROWS, ids=" | ".join)
def test_a_sample_of_the_matrix(row):
    fusion, encoder, family, invariant = row
    Cell(fusion, encoder).keeps(invariant, family)


def test_every_two_values_meet_in_the_sample():
    pairs = {(i, a, j, b) for i, j in combinations(range(4), 2) for a, b in
             product(FACTORS[i], FACTORS[j])}  # fmt: skip
    met = {(i, row[i], j, row[j]) for row in ROWS for i, j in combinations(range(4), 2)}
    impossible = {(0, f, 1, e) for f, e in product(FUSIONS, ENCODERS) if not is_possible(f, e)}
    impossible |= {(1, e, 3, "meta") for e in ENCODERS if e != "tiny"}
    assert pairs - met == impossible
    assert all(map(possible, ROWS))


def test_the_sample_is_far_smaller_than_the_matrix():
    assert len(ROWS) < 1.4 * len(FAMILIES) * len(INVARIANTS)


@pytest.mark.parametrize("encoder", [e for e in ENCODERS if not ENCODERS[e].has_mlp])
def test_what_cannot_be_is_refused_with_advice(encoder):
    assert Cell("adem, CLS and bottlenecks", encoder).refusal()


def test_the_matrix_asks_for_all_that_the_contract_promises():
    promised = {name for name in dir(FusionContract) if name.startswith("test_")}
    asked = {name for names in INVARIANTS.values() for name in names}
    assert promised == asked | set(LEFT_OUT)


def test_the_matrix_has_all_fusions_and_encoders():
    registry = get_registry()
    assert {row.use for row in FUSIONS.values()} == set(registry.names("fusion"))
    assert set(ENCODERS) - {"tiny"} == set(registry.names("encoder"))


def test_the_page_was_written_from_these_parts():
    page = (Path(__file__).parents[2] / "docs" / "matrix.md").read_text()
    assert all(f"| {name} |" in page for name in FUSIONS)
    assert all(f"| {name} |" in page for name in ENCODERS if name != "tiny")
    assert all(f" {family} |" in page for family in FAMILIES)
    assert "FAILS" not in page and "| - |" not in page


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if FUSIONS[name].declared])
def test_what_is_not_promised_is_not_kept(fusion):
    for invariant, why in FUSIONS[fusion].declared.items():
        assert Cell(fusion, "tiny").keeps(invariant, "llama") == why


def test_a_broken_promise_is_an_error():
    cell = Cell("epalm, published", "tiny")
    cell.fusion = dataclasses.replace(cell.fusion, declared={})
    with pytest.raises(AssertionError, match="padding changes"):
        cell.keeps("padding", "llama")
