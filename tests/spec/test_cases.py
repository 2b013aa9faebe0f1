"""All cases together are the set of the query, and each is what the search may rely on."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.formulas import (
    FLAT_HEAD,
    N_INPUTS,
    comparisons,
    eighths,
    flat_text,
    nested,
    points,
    true,
)
from verifier.errors import PropertyError
from verifier.load.vnnlib import parse_query
from verifier.spec import cases_of
from verifier.spec.unsafe import canonical_order

INSIDE = "".join(f"(assert (and (<= X_{i} 2) (>= X_{i} -2)))" for i in range(N_INPUTS))


def cases(text, *, bounded=True):
    return cases_of(parse_query((FLAT_HEAD + (INSIDE if bounded else "") + text).encode(), "p"))


def is_unsafe(all_cases, point, *, nearest=True):
    """Is the point in a box, and does a clause of its case hold there? Plain floating point."""
    values = np.array([float(x) for x in point])
    x, y = values[:N_INPUTS], values[N_INPUTS:]
    batch, rows = all_cases.take(0, len(all_cases), nearest=nearest), all_cases.rows
    inside = (batch.lower <= x).all(axis=1) & (x <= batch.upper).all(axis=1)
    left = rows.output_coefficients @ y
    if rows.input_coefficients is not None:
        left += rows.input_coefficients @ x
    held = left <= batch.bounds
    clauses = [held[:, rows.clause == k].all(axis=1) for k in range(rows.n_clauses)]
    return bool((inside & np.any(clauses, axis=0)).any())


def not_strict(formula):
    head, *rest = formula
    if head in {"and", "or"}:
        return (head, *(not_strict(part) for part in rest))
    return ({"<": "<=", ">": ">=", "!=": "=="}.get(head, head), *rest)


bounds = (
    "and",
    *(("<=", ("variable", i), ("number", "2")) for i in range(N_INPUTS)),
    *((">=", ("variable", i), ("number", "-2")) for i in range(N_INPUTS)),
)
boxes = st.tuples(
    st.sampled_from(["<=", ">="]),
    st.integers(0, N_INPUTS - 1).map(lambda i: ("variable", i)),
    eighths,
)
mixed = nested(comparisons | boxes, max_leaves=8)
some_properties = st.lists(mixed | nested(boxes), min_size=1, max_size=3)
some_points = st.lists(points, min_size=1, max_size=12)


@given(some_properties.map(lambda many: [bounds, *map(not_strict, many)]), some_points)
def test_the_cases_are_the_set_of_the_query(property_, at):
    query = parse_query(flat_text(property_), "p")
    reduced = cases_of(query)
    for point in at:
        expected = all(true(formula, point) for formula in property_)
        assert is_unsafe(reduced, point) == expected
        assert is_unsafe(reduced, point, nearest=False) == expected


@given(some_properties, some_points)
def test_strict_rows_are_read_as_their_closure(property_, at):
    reduced = cases_of(parse_query(flat_text([bounds, *property_]), "p"))
    for point in at:
        if all(true(formula, point) for formula in [bounds, *property_]):
            assert is_unsafe(reduced, point)


@given(some_properties)
def test_a_case_is_not_empty_and_free_inputs_are_those_with_an_interval(property_):
    reduced = cases_of(parse_query(flat_text([bounds, *property_]), "p"))
    batch = reduced.take(0, len(reduced))
    assert (batch.lower <= batch.upper).all()
    np.testing.assert_array_equal(reduced.free, (batch.lower < batch.upper).any(axis=0))
    assert reduced.n_empty >= 0
    rows = reduced.rows
    assert (np.diff(rows.clause) >= 0).all()
    assert set(rows.clause) == set(range(rows.n_clauses))
    assert (
        batch.bounds.shape == (len(reduced), len(rows.clause)) == (len(reduced), len(rows.strict))
    )
    closed = np.isneginf(batch.bounds)
    for k in range(rows.n_clauses):
        part = closed[:, rows.clause == k]
        assert (part.all(axis=1) == part.any(axis=1)).all()


def test_clauses_with_boxes_share_their_coefficient_rows():
    clauses = "".join(
        f"(and (>= X_0 {i / 8}) (<= X_0 {i / 8 + 0.125}) ({'<=' if i % 2 else '>='} Y_0 {i}))"
        for i in range(6)
    )
    reduced = cases(f"(assert (or {clauses}))")
    assert len(reduced) == 6
    assert reduced.rows.input_coefficients is None
    assert reduced.rows.output_coefficients.tolist() == [[-1, 0], [1, 0]]
    assert reduced.rows.clause.tolist() == [0, 1]
    batch = reduced.take(2, 4)
    assert batch.bounds.tolist() == [[-2, -np.inf], [-np.inf, 3]]
    assert batch.lower.tolist() == [[0.25, -2, -2], [0.375, -2, -2]]
    assert batch.upper.tolist() == [[0.375, 2, 2], [0.5, 2, 2]]


def test_the_tightest_of_several_bounds_counts():
    reduced = cases(
        "(assert (<= X_0 1))(assert (<= X_0 1.5))(assert (<= Y_0 3))(assert (<= Y_0 2))"
    )
    batch = reduced.take(0, 1)
    assert batch.upper[0, 0] == 1
    assert batch.bounds.tolist() == [[2]]


def test_an_input_that_every_alternative_fixes_is_not_free():
    reduced = cases("(assert (or (= X_0 0) (= X_0 1)))")
    assert reduced.take(0, 2).upper[:, 0].tolist() == [0, 1]
    assert reduced.free.tolist() == [False, True, True]


@pytest.mark.parametrize("nearest", [False, True])
def test_an_alternative_without_rows_is_unsafe_all_over_its_box(nearest):
    reduced = cases("(assert (or (<= X_0 0) (and (>= X_0 1) (<= Y_0 0))))")
    assert len(reduced) == reduced.rows.n_clauses == 2
    for x, y, expected in [(-1, 9, True), (1, 9, False), (1, 0, True), (0.5, 0, False)]:
        assert is_unsafe(reduced, [x, 0, 0, y, 0], nearest=nearest) == expected


def test_two_boxes_and_four_outputs_are_two_cases_with_four_clauses():
    reduced = cases(
        "(assert (or (and (<= X_0 0)) (and (>= X_0 1))))"
        "(assert (or (<= Y_0 0) (<= Y_1 0)))"
        "(assert (or (>= Y_0 -1) (and (>= Y_1 -1) (<= X_0 X_1))))"
    )
    assert len(reduced) == 2
    assert reduced.rows.n_clauses == 4
    assert reduced.rows.clause.tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    inputs = reduced.rows.input_coefficients
    assert inputs is not None
    assert inputs[inputs.any(axis=1)].tolist() == [[1, -1, 0], [1, -1, 0]]


def test_products_of_boxes_are_made_when_they_are_taken():
    head = "".join(f"(declare-const X_{i} Real)" for i in range(50))
    asserts = "".join(
        f"(assert (or (and (<= X_{i} 1) (>= X_{i} 0)) (and (>= X_{i} 2) (<= X_{i} 3))"
        f" (and (>= X_{i} 5) (<= X_{i} 4))))"
        for i in range(50)
    )
    reduced = cases_of(parse_query((head + asserts).encode(), "p"))
    assert len(reduced) == 2**50
    assert reduced.n_empty == 3**50 - 2**50
    number = 0b1011 << 40
    batch = reduced.take(number, number + 2)
    digits = np.array([int(bit) for bit in f"{number:050b}"])
    assert batch.lower[0].tolist() == (2 * digits).tolist()
    assert batch.upper[0].tolist() == (2 * digits + 1).tolist()
    assert batch.lower[1].tolist() == [*(2 * digits[:-1]).tolist(), 2]


def test_more_cases_than_can_be_numbered_are_refused():
    head = "".join(f"(declare-const X_{i} Real)" for i in range(64))
    asserts = "".join(
        f"(assert (or (and (<= X_{i} 1) (>= X_{i} 0)) (and (>= X_{i} 2) (<= X_{i} 3))))"
        for i in range(64)
    )
    with pytest.raises(PropertyError, match=r"p combines its assertions to more than 2\^62 cases"):
        cases_of(parse_query((head + asserts).encode(), "p"))


def test_choices_over_the_same_input_drop_the_combinations_that_clash():
    reduced = cases("(assert (or (<= X_0 -1) (>= X_0 1)))(assert (or (<= X_0 0) (>= X_0 0.5)))")
    assert len(reduced) == 2
    assert reduced.n_empty == 2
    batch = reduced.take(0, 2)
    assert batch.lower[:, 0].tolist() == [-2, 1]
    assert batch.upper[:, 0].tolist() == [-1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(assert (<= X_0 1))", "input X_0 has no lower bound in some case, nor do 2 others"),
        (
            "(assert (and (<= X_0 1) (>= X_0 0) (= X_1 1) (<= X_2 X_0) (>= X_2 0)))",
            "input X_2 has no upper bound in some case; every input needs a lower and an upper",
        ),
        ("(assert (or (and (<= X_0 1) (>= X_0 0)) (<= X_0 1)))", "input X_0 has no lower bound"),
        ("", "input X_0 has no lower bound"),
    ],
)
def test_an_unbounded_input_is_named(text, message):
    with pytest.raises(PropertyError, match=message):
        cases(text, bounded=False)


def test_a_bound_may_come_from_all_alternatives_of_a_choice():
    text = "(assert (or (and (<= X_0 1) (>= X_0 0)) (and (>= X_0 2) (<= X_0 3))))"
    rest = "(assert (and (<= X_1 0) (>= X_1 0) (<= X_2 0) (>= X_2 0)))"
    reduced = cases(text + rest, bounded=False)
    assert len(reduced) == 2
    assert reduced.free.tolist() == [True, False, False]


@pytest.mark.parametrize(
    "text",
    [
        "(assert (and (<= X_0 0) (>= X_0 1)))",
        "(assert (<= 2 1))",
        "(assert (< 1 1))",
        "(assert (or (<= 2 1) (and (<= X_0 0) (<= 1 0))))",
        "(assert (or (<= X_0 -3) (>= X_0 3)))",
    ],
)
def test_a_property_that_nothing_fulfils_has_no_cases(text):
    reduced = cases(text)
    assert len(reduced) == 0
    assert reduced.take(0, 0).lower.shape == (0, N_INPUTS)
    assert not reduced.free.any()


def test_a_property_over_inputs_only_is_unsafe_wherever_its_box_is():
    reduced = cases("")
    assert reduced.rows.output_coefficients.tolist() == [[0, 0]]
    assert reduced.rows.input_coefficients is None
    assert reduced.take(0, 1).bounds.tolist() == [[0]]
    assert is_unsafe(reduced, [Fraction(0)] * 5)


def test_constants_that_are_true_leave_a_clause_that_always_holds():
    reduced = cases("(assert (or (<= Y_0 0) (<= 1 2)))(assert (<= 0 0))")
    assert reduced.rows.n_clauses == 2
    assert is_unsafe(reduced, [0, 0, 0, 5, 5])


def test_sides_move_outward_where_the_number_in_the_file_is_no_double():
    text = """(assert (and (<= X_0 0.1) (>= X_0 -0.1) (<= X_1 0.5) (>= X_1 -0.5)
        (<= X_2 0.3) (>= X_2 0.3) (<= Y_0 0.7) (<= Y_1 0.75)))"""
    reduced = cases(text, bounded=False)
    outer, inner = reduced.take(0, 1), reduced.take(0, 1, nearest=True)
    assert inner.lower.tolist() == [[-0.1, -0.5, 0.3]]
    assert inner.upper.tolist() == [[0.1, 0.5, 0.3]]
    assert outer.lower.tolist() == [[np.nextafter(-0.1, -1), -0.5, 0.3]]
    assert outer.upper.tolist() == [[np.nextafter(0.1, 1), 0.5, 0.3]]
    wide = reduced.take(0, 1, wide=True)
    assert wide.lower.tolist() == [[*outer.lower[0, :2], np.nextafter(0.3, 0)]]
    assert wide.upper.tolist() == [[*outer.upper[0, :2], np.nextafter(0.3, 1)]]
    assert inner.bounds.tolist() == [[0.75, 0.7]]  # by coefficients: Y_1 comes first
    assert outer.bounds.tolist() == [[0.75, np.nextafter(0.7, 1)]]
    assert reduced.free.tolist() == [True, True, False]


@given(st.lists(st.decimals(-2, 2, allow_nan=False, places=17), min_size=2, max_size=2))
def test_outward_boxes_contain_the_interval_of_the_file(sides):
    low, high = sorted(Fraction(side) for side in sides)
    text = f"(assert (and (>= X_0 {min(sides):f}) (<= X_0 {max(sides):f})))"
    batch = cases(text).take(0, 1)
    if batch.lower[0, 0] < batch.upper[0, 0]:
        assert Fraction(float(batch.lower[0, 0])) <= low
        assert Fraction(float(batch.upper[0, 0])) >= high
    wide = cases(text).take(0, 1, wide=True)
    assert Fraction(float(wide.lower[0, 0])) <= low
    assert Fraction(float(wide.upper[0, 0])) >= high


def test_too_many_ways_to_be_unsafe_are_refused():
    text = "(assert (or (<= Y_0 1) (<= Y_1 2)))" * 20
    with pytest.raises(PropertyError, match="p combines its assertions to 1048576 ways"):
        cases(text)


def test_limits_on_combinations_and_coefficients(monkeypatch):
    clashing = "(assert (or (<= X_0 -1) (>= X_0 1)))(assert (or (<= X_0 0) (>= X_0 0.5)))"
    monkeypatch.setattr("verifier.spec.cases.MAX_LISTED_CASES", 3)
    with pytest.raises(PropertyError, match="over the same inputs to 4 cases; at most 3"):
        cases(clashing)
    monkeypatch.setattr("verifier.spec.unsafe.MAX_COEFFICIENTS", 9)
    with pytest.raises(PropertyError, match="needs 2 rows over 5 variables; at most 9"):
        cases("(assert (<= Y_0 0))(assert (<= Y_1 0))")
    monkeypatch.setattr("verifier.spec.choices.MAX_BOUNDS", 3)
    with pytest.raises(PropertyError, match="has 2 alternatives over 2 different rows; at most 3"):
        cases("(assert (or (and (<= X_0 0) (<= Y_0 0)) (and (>= X_0 0) (<= Y_1 0))))")


@given(st.lists(st.lists(boxes, min_size=1, max_size=3), min_size=1, max_size=3))
def test_products_come_in_the_order_of_the_file(choices):
    formula = [("or", *parts) for parts in choices]
    reduced = cases_of(parse_query(flat_text([bounds, *formula]), "p"))
    expected = []
    for combination in itertools.product(*choices):
        low, high = np.full(3, -2.0), np.full(3, 2.0)
        for relation, (_, i), (_, literal) in combination:
            if relation == "<=":
                high[i] = min(high[i], float(literal))
            else:
                low[i] = max(low[i], float(literal))
        if (low <= high).all():
            expected.append([*low, *high])
    batch = reduced.take(0, len(reduced))
    found = np.concatenate([batch.lower, batch.upper], axis=1).tolist()
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ("bounds", "empty"),
    [
        ("(< X_0 1) (> X_0 1)", True),
        ("(<= X_0 1) (> X_0 1) (< X_0 2)", True),
        ("(< (* 2 X_0) 2) (>= X_0 1)", True),
        ("(<= X_0 1) (>= X_0 1) (> X_0 0)", False),
        ("(< X_0 0.1) (>= X_0 0.1)", False),
        ("(< X_0 0.1) (> X_0 0.1000000000000000000001)", False),
        ("(< X_0 0.1000000000000000000001) (> X_0 0.1)", False),
    ],
)
def test_only_exact_numbers_say_that_a_strict_bound_leaves_no_point(bounds, empty):
    """0.1 and 0.1000000000000000000001 are one double, and there is a number between them."""
    text = f"(declare-const X_0 Real) (declare-const Y_0 Real) (assert (and {bounds} (<= Y_0 0)))"
    cases = cases_of(parse_query(text.encode(), "p.vnnlib"))
    assert len(cases) == 1
    assert cases.strictly_empty == empty


def test_rows_of_a_clause_are_in_the_order_of_certificates():
    """By their coefficients over inputs and then outputs; bounds and strictness go with them."""
    text = """(assert (or (and (<= Y_0 1) (< Y_1 2) (<= (+ X_0 Y_1) 3) (>= Y_0 -4) (<= Y_0 Y_1))
        (and (<= Y_1 5) (<= Y_0 Y_1))))"""
    found = cases(text)
    rows, bounds = found.rows, found.take(0, 1).bounds[0]
    number, _ = canonical_order(rows, bounds > -np.inf)
    assert number.tolist() == list(range(7))
    assert rows.clause.tolist() == [0] * 5 + [1] * 2
    assert bounds.tolist() == [4.0, 2.0, 0.0, 1.0, 3.0, 5.0, 0.0]
    assert rows.strict.tolist() == [False, True, *[False] * 5]
