"""Sums of rows: in parts, without repetitions, in little memory, and with an eye on the clock."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from tests.checker.handmade import (
    CLAUSE,
    CLIP,
    LEAF,
    MIX,
    ROWS,
    SIZE,
    accepted,
    certificate,
    prop,
)
from verifier.checker import errors, sums, walk
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.check import Effort, check
from verifier.checker.container import read_container
from verifier.checker.errors import OutOfTimeError
from verifier.checker.network import read_network
from verifier.checker.proof import Proof, read_proof

CLAUSES = np.array([0, 0, 1, 1, 1])


def proof(rows, mixes=(), nodes=None) -> Proof:
    """Records of the rows of one node, or of some; each mix is a list of (row, weight)."""
    listed = [entry for mix in mixes for entry in mix]
    record = {
        "row_node": nodes or [0] * len(rows),
        "row": rows,
        "row_alpha": np.zeros((len(rows), 0)),
        "beta_count": [0] * len(rows),
        "mix_count": [len(mix) for mix in mixes],
        "mix_row": [row for row, _ in listed],
        "mix_weight": [weight for _, weight in listed],
    }
    tree = {"node": [1, LEAF, LEAF], "split_axis": [0], "split_point": [0.0]}
    network = read_network(SIZE, Arithmetic())
    return read_proof(read_container(certificate(SIZE, prop(), **tree, **record)), network)


def recorded(given: Proof, arithmetic: Arithmetic | None = None) -> sums.Sums:
    return sums.recorded(given, np.arange(3), CLAUSES, arithmetic or Arithmetic())


def shown(found: sums.Sums):
    parts = [slice(*pair) for pair in itertools.pairwise(found.start.tolist())]
    return [(found.row[p].tolist(), found.weight[p].tolist()) for p in parts]


def test_rows_and_mixes_are_read_in_the_order_of_their_records():
    mixes = [[(4, 0.5), (2, 2.0)], [(1, 1.0)]]
    found = recorded(proof([3, MIX, MIX, 3], mixes))
    assert shown(found) == [([3], [1]), ([2, 4], [2, 0.5]), ([1], [1]), ([3], [1])]
    assert found.record is not None
    assert found.record.tolist() == [0, 1, 2, 3]
    assert found.plane.tolist() == [True, False, False, False]
    assert (found.first.tolist(), found.terms) == ([3, 2, 1, 3], 2)


def test_each_node_has_planes_of_its_own():
    found = recorded(proof([3, 3, 2, 3], nodes=[0, 1, 1, 1]))
    assert (found.batch.tolist(), found.plane.tolist()) == ([0, 1, 1, 1], [True] * 3 + [False])


def test_what_says_nothing_is_left_out():
    """Rows that there are not, weights of 0, rows of another clause than the first, repetitions."""
    mixes = [[(9, 1.0), (3, 0.0)], [(3, 1.0), (1, 2.0), (4, 3.0)], [(3, 1.0), (3, 5.0)]]
    found = recorded(proof([5, MIX, MIX, MIX], mixes))
    assert shown(found) == [([1], [2]), ([3], [1])]
    assert found.record is not None
    assert found.record.tolist() == [2, 3]
    assert shown(recorded(proof([7]))) == []


@pytest.mark.parametrize("exact", [False, True])
def test_totals_and_parts(exact):
    mixes = [[(0, 2.0), (1, 0.5)], [(2, 1.0), (3, 1.0), (4, 4.0)]]
    found = recorded(proof([2, MIX, MIX], mixes), Arithmetic(exact))
    x = Arithmetic(exact).numbers([[10.0, 1.0], [20.0, 2.0], [3.0, 0.0], [4.0, 0.0], [5.0, 1.0]])
    total = found.total(x[found.row])
    assert total.tolist() == [[3, 0], [30, 3], [27, 4]]
    assert isinstance(total[0, 0], Fraction) == exact
    assert found.total(x[found.row, 0]).tolist() == [3, 30, 27]
    for most, sizes in ((1, [1, 1, 1]), (3, [2, 1]), (4, [2, 1]), (6, [3])):
        parts = list(found.parts(most))
        assert [len(part) for part in parts] == sizes
        assert [entry for part in parts for entry in shown(part)] == shown(found)
        totals, records = [part.total(x[part.row]) for part in parts], [p.record for p in parts]
        assert [row for part in totals for row in part.tolist()] == total.tolist()
        assert [r for part in records if part is not None for r in part.tolist()] == [0, 1, 2]
        assert [p for part in parts for p in part.plane.tolist()] == [True, False, False]


def bands(count: int) -> bytes:
    """|x| on [-1, 1] is in none of many intervals above 1."""
    clauses = " ".join(f"(and (>= Y_0 {k + 2}) (<= Y_0 {k + 2.5}))" for k in range(count))
    return prop(f"(or {clauses})")


@pytest.mark.parametrize("actions", [ROWS, ROWS | CLIP])
def test_memory_grows_with_the_rows_and_not_with_their_square(actions):
    text = bands(1000)
    data = certificate(SIZE, text, node=[actions])
    tracemalloc.start()
    try:
        assert check(SIZE, text, data).accepted
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_parts_prove_what_the_whole_does(monkeypatch):
    monkeypatch.setattr(walk, "PART_ELEMENTS", 1)
    assert accepted(SIZE, bands(5), node=[ROWS]) == "float32"
    assert accepted(SIZE, bands(5).replace(b">= Y_0 6", b">= Y_0 0.5"), node=[ROWS]) is None


def test_a_split_by_clauses_leaves_out_what_is_refuted():
    text = bands(3)
    tree = {"node": [CLAUSE | ROWS, *[LEAF] * 3], "clause_count": [3], "clause": [0, 1, 2]}
    assert accepted(SIZE, text, **tree) == "float32"
    tree["node"][0] = CLAUSE
    assert accepted(SIZE, text, **tree) is None
    tree["node"][1:] = [ROWS] * 3
    assert accepted(SIZE, text, **tree) == "float32"


def test_the_deadline_is_looked_at_between_the_parts(monkeypatch):
    text, looks = bands(20), itertools.count()
    data = certificate(SIZE, text, node=[ROWS])
    monkeypatch.setattr(walk, "PART_ELEMENTS", 1)
    monkeypatch.setattr(errors, "time", SimpleNamespace(monotonic=lambda: next(looks)))
    assert check(SIZE, text, data, Effort(deadline=1e6)).accepted
    taken = next(looks)
    assert taken > 2 * 40
    for some in (0, 1, 5, taken // 2, taken - 2):
        looks = itertools.count()
        with pytest.raises(OutOfTimeError):
            check(SIZE, text, data, Effort(deadline=some - 0.5))
        assert next(looks) == max(some, 0) + 1


def test_a_long_check_ends_at_its_deadline():
    text = bands(2000)
    data = certificate(SIZE, text, node=[ROWS])
    started = time.monotonic()
    with pytest.raises(OutOfTimeError):
        check(SIZE, text, data, Effort(deadline=started))
    assert time.monotonic() - started < 5
