"""A query is exact at a point, and says which of its assertions fail."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.formulas import FLAT_HEAD
from verifier.errors import PropertyError
from verifier.load.vnnlib import parse_query
from verifier.spec import Assertion

X = np.array([0.25, -1.0, 3.0])
Y = np.array([2.0, -0.5])


def query(text):
    return parse_query((FLAT_HEAD + text).encode(), "p")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(assert (<= X_0 0.25))", True),
        ("(assert (< X_0 0.25))", False),
        ("(assert (< X_0 0.2500000000000001))", True),
        ("(assert (== X_0 0.25))", True),
        ("(assert (!= X_0 0.25))", False),
        ("(assert (!= X_0 0.2500000000000001))", True),
        ("(assert (== (+ X_0 X_1 X_2 Y_0 Y_1) 3.75))", True),
        ("(assert (< (+ X_0 X_1 X_2 Y_0 Y_1) 3.75))", False),
        ("(assert (<= Y_1 X_0))", True),
        ("(assert (<= 1 2))", True),
        ("(assert (< 2 2))", False),
        ("(assert (or (<= X_2 2.9) (>= X_2 3)))", True),
        ("", True),
    ],
)
def test_holds(text, expected):
    assert query(text).holds(X, Y) is expected
    assert query(text).unmet(X, Y) == (() if expected else (0,))


def test_sums_are_not_rounded():
    text = "(assert (<= (+ X_0 X_1 X_2) 0))"
    inputs = np.array([1e16, 1.0, -1e16])
    assert not query(text).holds(inputs, Y)
    assert query(text).holds(np.array([1e16, -1.0, -1e16]), Y)
    assert query(text).holds(np.array([1e308, 1e308, -1.7e308]) * [1, -1, 0], Y)


numbers = st.floats(allow_nan=False, allow_infinity=False)
coefficients = st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != 0)


@given(
    st.lists(st.tuples(coefficients, numbers), min_size=2, max_size=5),
    st.integers(-2, 2),
    st.booleans(),
)
def test_any_row_is_decided_exactly_close_to_its_bound(terms, steps, strict):
    factors, point = (np.array(column) for column in zip(*terms, strict=True))
    total = sum(Fraction(c) * Fraction(x) for c, x in terms)
    if abs(total) > Fraction(10) ** 300:
        return
    bound = float(total) + steps * float(np.spacing(float(total)))
    assertion = Assertion(
        clause_start=np.array([0, 1]),
        row_start=np.array([0, len(terms)]),
        variable=np.arange(len(terms), dtype=np.int32),
        coefficient=factors,
        bound=np.array([bound]),
        strict=np.array([strict]),
        rounded=np.array([False]),
    )
    expected = total < Fraction(bound) if strict else total <= Fraction(bound)
    assert assertion.clauses_hold(point).tolist() == [expected]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nothing_holds_where_a_number_is_not_finite(bad):
    for text in ("(assert (<= X_0 1))", "(assert (or (<= X_0 1) (>= X_0 0)))"):
        assert not query(text).holds(X, np.array([0, bad]))
        assert not query(text).holds(np.array([0, 0, bad]), Y)
        assert query(text).unmet(X, np.array([0, bad])) == (0,)
        assert query(text).holds_nearly(X[None], np.array([[0, bad]])).tolist() == [False]


def test_the_point_must_fit_the_query():
    with pytest.raises(PropertyError, match="p speaks about 3 inputs and 2 outputs, but the point"):
        query("").holds(X[:2], Y)


def test_a_row_over_one_variable_needs_a_unit_coefficient():
    with pytest.raises(ValueError, match=r"needs the coefficient \+1 or -1"):
        Assertion(
            clause_start=np.array([0, 1]),
            row_start=np.array([0, 1]),
            variable=np.array([0], dtype=np.int32),
            coefficient=np.array([2.0]),
            bound=np.array([1.0]),
            strict=np.array([False]),
            rounded=np.array([False]),
        )


def test_assertions_cannot_be_changed():
    (assertion,) = query("(assert (<= X_0 1))").assertions
    with pytest.raises(ValueError, match="read-only"):
        assertion.bound[0] = 2
