"""What is to be proved: cases in groups, rounded so that more is unsafe, never less."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest

from verifier.checker import cases, statement
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.cases import Alternative, Property, Row
from verifier.checker.errors import OutOfTimeError, Rejected, Unsupported
from verifier.checker.property import read_property
from verifier.checker.statement import groups

FLOAT, EXACT = Arithmetic(), Arithmetic(exact=True)
THIRD = Fraction(1, 3)
HEAD = "".join(f"(declare-const {name} Real)\n" for name in ("X_0", "Y_0", "Y_1"))


def read(*assertions: str) -> Property:
    return read_property((HEAD + "".join(f"(assert {text})\n" for text in assertions)).encode())


def box(low, high):
    return f"(and (<= (* 3 X_0) {high}) (>= (* 3 X_0) {low}))"


def roots(*numbers):
    return np.array(numbers, dtype=np.int64)


def test_boxes_thresholds_and_coefficients_are_rounded_outward():
    prop = read(box(1, 2), "(<= (+ Y_0 (* 0.1 Y_1) (* 2 X_0)) 0.1)", "(>= Y_1 0.1)")
    (group,) = groups(prop, roots(0), FLOAT)
    assert Fraction(group.lower[0, 0]) < THIRD < Fraction(np.nextafter(group.lower[0, 0], 1))
    assert Fraction(group.upper[0, 0]) > 2 * THIRD > Fraction(np.nextafter(group.upper[0, 0], 0))
    assert group.coefficients.tolist() == [[0, 0, -1], [2, 1, 0.1]]
    tenth = Fraction(1, 10)
    assert (group.error != 0).tolist() == [[False] * 3, [False, False, True]]
    assert abs(Fraction(0.1) - tenth) <= Fraction(group.error[1, 2]) <= Fraction(1, 2**52)
    below, above = (Fraction(b) for b in group.bounds[0])
    assert -tenth <= below
    assert tenth <= above
    assert max(below + tenth, above - tenth) < Fraction(1, 2**50)
    (exact,) = groups(prop, roots(0), EXACT)
    assert (exact.lower[0, 0], exact.upper[0, 0]) == (THIRD, 2 * THIRD)
    assert exact.bounds.tolist() == [[-tenth, tenth]]
    assert exact.coefficients[1].tolist() == [2, 1, tenth]
    assert not exact.error.any()


def test_small_and_negative_coefficients_carry_an_error_too():
    for text, exact in (("1e-320", Fraction(1, 10**320)), ("-0.1", Fraction(-1, 10))):
        (group,) = groups(read(box(1, 2), f"(<= (+ Y_0 (* {text} Y_1)) 1)"), roots(0), FLOAT)
        missing = abs(Fraction(group.coefficients[0, 2]) - exact)
        assert 0 < missing <= Fraction(group.error[0, 2])


def test_cases_with_the_same_rows_are_one_group():
    halves = (
        "(or (and (<= X_0 0) (>= X_0 -1) (<= Y_0 1)) (and (>= X_0 0) (<= X_0 1) (<= Y_0 2)) {})"
    )
    prop = read(halves.format("(and (>= X_0 5) (<= X_0 6) (<= Y_1 7) (<= Y_0 8))"))
    first, second = groups(prop, roots(0, 1, 2), FLOAT)
    assert (first.root.tolist(), second.root.tolist()) == ([0, 1], [2])
    assert (first.lower.tolist(), first.upper.tolist()) == ([[-1], [0]], [[0], [1]])
    assert (first.bounds.tolist(), second.bounds.tolist()) == ([[1], [2]], [[7, 8]])
    assert second.coefficients.tolist() == [[0, 0, 1], [0, 1, 0]]
    assert (first.clauses, first.clause.tolist()) == (1, [0])


def test_clauses_are_numbered_over_their_rows():
    prop = read(box(1, 2), "(or (<= Y_0 1) (and (<= Y_1 2) (<= Y_0 3)) (<= Y_1 4))")
    (group,) = groups(prop, roots(0), FLOAT)
    assert (group.clauses, group.clause.tolist()) == (3, [0, 1, 1, 2])
    assert group.bounds.tolist() == [[1, 2, 3, 4]]


EMPTY = "(or (and (<= X_0 0) (>= X_0 1)) (and (<= X_0 1) (>= X_0 0)) (and (>= X_0 3) (<= X_0 2)))"


def test_only_empty_cases_may_be_left_out():
    prop = read(EMPTY)
    for numbers in ((1,), (0, 1), (1, 2), (0, 1, 2)):
        assert sum(len(g.root) for g in groups(prop, roots(*numbers), FLOAT)) == len(numbers)
    for numbers in ((), (0,), (0, 2)):
        with pytest.raises(Rejected, match="case 1 is left out, though its box is not empty"):
            groups(prop, roots(*numbers), FLOAT)


def test_a_point_is_not_empty():
    point = read("(or (and (<= X_0 1) (>= X_0 1)) (and (<= X_0 2) (>= X_0 2)))")
    with pytest.raises(Rejected, match="case 1 is left out"):
        groups(point, roots(0), FLOAT)
    near = read(f"(or (and (<= X_0 1) (>= X_0 1.{'0' * 40}1)) (and (<= X_0 2) (>= X_0 2)))")
    assert len(groups(near, roots(1), FLOAT)) == 1


@pytest.mark.parametrize("numbers", [(1, 0), (1, 1), (-1, 1), (1, 3), (0, 1, 2, 3)])
def test_numbers_of_cases_ascend(numbers):
    with pytest.raises(Rejected, match="must ascend, from 0 to 2 at most"):
        groups(read(EMPTY), roots(*numbers), FLOAT)


def test_what_is_empty_is_not_gone_into():
    """Of 2^60 cases all are empty, or all but the first and the last."""
    sides = ["(or (<= X_0 1) (>= X_0 2))"] * 60
    assert groups(read(box(2, 1), *sides), roots(), FLOAT) == []
    prop, last = read(box(3, 9), *sides), 2**60 - 1
    assert sum(len(g.root) for g in groups(prop, roots(0, last), FLOAT)) == 2
    for numbers, missing in ((roots(0), last), (roots(last), 0), (roots(), 0)):
        with pytest.raises(Rejected, match=f"case {missing} is left out"):
            groups(prop, numbers, FLOAT)


FREE = ["(or (<= X_0 5) (>= X_0 4))"] * 40
FAR = "(or (>= X_0 100) (<= X_0 -100))"


def test_steps_to_see_that_cases_are_empty_are_limited(monkeypatch):
    prop = read(box(0, 27), *FREE[:3], FAR)
    monkeypatch.setattr(statement, "MAX_LOOKS", 31)
    assert groups(prop, roots(), FLOAT) == []
    monkeypatch.setattr(statement, "MAX_LOOKS", 30)
    with pytest.raises(Rejected, match="too many cases are left out"):
        groups(prop, roots(), FLOAT)


def test_a_case_left_out_that_is_not_supported_is_called_so():
    with pytest.raises(Unsupported, match="input 0 lacks a bound"):
        groups(read("(<= X_0 1)"), roots(), FLOAT)


def test_a_deadline_ends_the_look_at_cases():
    prop = read(box(0, 27), *FREE, FAR)
    started = time.monotonic()
    with pytest.raises(OutOfTimeError):
        groups(prop, roots(), FLOAT, started + 0.1)
    assert time.monotonic() - started < 2


# ----------------------------------------------------------------------------------------- cases


def alternative(lower, upper, *clauses):
    return Alternative(lower, upper, tuple(clauses) or ((),))


def rows(*bounds):
    return tuple(Row(((1, Fraction(1)),), Fraction(b)) for b in bounds)


def test_a_case_is_one_alternative_of_each_choice():
    whole = alternative({0: Fraction(0)}, {0: Fraction(9)})
    first = alternative({0: Fraction(1)}, {}), alternative({}, {0: Fraction(5)}, rows(1))
    second = alternative({0: Fraction(-3)}, {}), alternative({}, {0: Fraction(7)}, rows(2), rows(3))
    prop = Property(1, 1, ((whole,), first, second), ())
    assert prop.n_cases == 4
    found = [prop.case(k) for k in range(4)]
    assert [(c.lower, c.upper) for c in found] == [
        ([1], [9]),
        ([1], [7]),
        ([0], [5]),
        ([0], [5]),
    ]
    assert [c.clauses for c in found] == [((),), (rows(2), rows(3)), (rows(1),), (rows(1), rows(1))]


def test_rows_of_a_clause_are_in_the_order_of_their_vectors():
    text = "(and (<= (- Y_1 Y_0) 1) (<= Y_0 2) (>= Y_0 3) (<= Y_1 4) (>= Y_1 5) (<= (+ Y_0 X_0) 6))"
    twice = f"(and {text} (<= Y_0 1.5) (<= Y_1 4.5) (<= (* 2 Y_0) 9))"
    (clause,) = read(box(1, 2), twice).case(0).clauses
    dense = [[float(dict(row.coefficients).get(v, 0)) for v in range(3)] for row in clause]
    assert dense == sorted(dense)
    assert [float(row.bound) for row in clause] == [-3, 1, -5, 4, 1.5, 6]


def test_limits_of_cases(monkeypatch):
    many = read(box(1, 2), "(or (<= Y_0 1) (<= Y_0 2))", "(or (<= Y_1 1) (<= Y_1 2))")
    monkeypatch.setattr(cases, "MAX_CLAUSES", 4)
    assert len(many.case(0).clauses) == 4
    monkeypatch.setattr(cases, "MAX_CLAUSES", 3)
    with pytest.raises(Unsupported, match="more than 3 clauses"):
        many.case(0)
    for side in ("<=", ">="):
        with pytest.raises(Unsupported, match="input 0 lacks a bound"):
            read(f"({side} X_0 1)").case(0)
    for number in (-1, 1):
        with pytest.raises(ValueError, match=f"case {number} of 1"):
            many.case(number)
