"""What is searched has the counterexamples of the file, and no more than rounding adds."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.load.formulas import SIZE, TENSOR_HEAD, TENSOR_NAMES, true
from verifier.load.lower import LoweredQuery, lower_query
from verifier.load.vnnlib import parse_query
from verifier.spec import cases_of

N_INPUTS = 3
CONSTANTS = st.sampled_from(["0", "1", "-1", "0.5", "0.1", "-0.3"])
VARIABLES = st.integers(0, SIZE - 1).map(lambda i: ("variable", i))
LEAVES = VARIABLES | CONSTANTS.map(lambda text: ("number", text))
EXPRESSIONS = st.recursive(
    LEAVES, lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner), max_leaves=4
)
COMPARED = st.tuples(st.sampled_from(["<=", "<", ">=", ">"]), EXPRESSIONS, EXPRESSIONS)
FORMULAS = st.recursive(
    COMPARED, lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner), max_leaves=4
)
BOXES = "".join(f"(assert (and (>= {name} -1) (<= {name} 1)))\n" for name in TENSOR_NAMES[:3])
VALUES = st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.5, 0.75, 1.0])


def text_of(formula):
    head, *rest = formula
    if head == "variable":
        return TENSOR_NAMES[rest[0]]
    if head == "number":
        return rest[0]
    return f"({head} {' '.join(text_of(part) for part in rest)})"


@settings(max_examples=150, deadline=None)
@given(FORMULAS, st.booleans(), st.lists(VALUES, min_size=SIZE, max_size=SIZE))
def test_polynomials_mean_what_they_say(formula, same, values):
    equality = f"(assert (== {TENSOR_NAMES[0]} {TENSOR_NAMES[2]}))" if same else ""
    query = parse_query(f"{TENSOR_HEAD}{BOXES}{equality}(assert {text_of(formula)})".encode(), "p")
    if same:
        values[2] = values[0]
    exact = true(formula, [Fraction(v) for v in values])
    inputs, outputs = np.array(values[:N_INPUTS]), np.array(values[N_INPUTS:])
    # Constants of the file are not all doubles: at a tie either answer may be right.
    if query.holds(inputs, outputs) != exact:
        assert "0.1" in text_of(formula) or "-0.3" in text_of(formula)
        return
    lowered = lower_query(query)
    if not isinstance(lowered, LoweredQuery):
        return
    assert lowered.n_inputs == N_INPUTS - same
    some = np.array([values[lowered.place.tolist().index(i)] for i in range(lowered.n_inputs)])
    extended = np.array(
        [*outputs, *(np.prod([values[f] for f in factors]) for factors in query.monomials)],
        dtype=np.float64,
    )
    assert lowered.holds(some, extended) == exact
    if exact:
        assert searched(lowered, some, extended)
    if query.cautious().holds(inputs, outputs):
        assert exact


def searched(query, inputs, outputs):
    """Is the point in a box, and unsafe there, up to the rounding of its products?"""
    cases = cases_of(query)
    batch = cases.take(0, len(cases))
    rows = cases.rows
    values = rows.output_coefficients @ outputs
    if rows.input_coefficients is not None:
        values = values + rows.input_coefficients @ inputs
    for lower, upper, bounds in zip(batch.lower, batch.upper, batch.bounds, strict=True):
        if (inputs < lower).any() or (inputs > upper).any():
            continue
        met = values <= bounds + 1e-9
        if any(met[rows.clause == k].all() for k in range(rows.n_clauses)):
            return True
    return False


def query_of(*asserts):
    return parse_query(f"{TENSOR_HEAD}{''.join(f'(assert {a})' for a in asserts)}".encode(), "p")


def test_bounds_that_follow_are_outward_and_no_tighter_than_they_may_be():
    query = query_of(
        "(and (>= A 0.1) (<= A 0.7))",
        "(and (<= A B7[0,0]) (<= B7[0,0] 0.7))",
        "(and (<= (- B7[0,1] (* 3 A)) 0.2) (>= (- B7[0,1] (* 3 A)) 0))",
    )
    cases = cases_of(lower_query(query))
    batch = cases.take(0, 1)
    tenth, most = Fraction(1, 10), Fraction(7, 10) * 3 + Fraction(2, 10)
    for found, exact, sign in (
        (batch.lower[0, 1], tenth, -1),
        (batch.lower[0, 2], 3 * tenth, -1),
        (batch.upper[0, 2], most, 1),
    ):
        assert sign * (Fraction(found) - exact) >= 0
        assert abs(Fraction(found) - exact) < Fraction(1, 10**12)


def test_what_an_alternative_says_bounds_nothing():
    """A relation within `or` need not hold, so that nothing follows from it."""
    query = query_of("(and (>= A 0) (<= A 1))", "(or (<= B7[0,0] A) (<= Out[0] 0))")
    assert lower_query(query) is query


def test_only_equations_of_plain_inputs_merge():
    for formula in (
        "(<= A B7[0,0])",
        "(== A (+ B7[0,0] 1))",
        "(== A (* 2 B7[0,0]))",
        "(== A Out[0])",
        "(or (== A B7[0,0]) (<= A 0))",
        "(and (< A B7[0,0]) (> A B7[0,0]))",
    ):
        query = query_of("(and (>= A 0) (<= A 1))", formula)
        lowered = lower_query(query)
        assert not isinstance(lowered, LoweredQuery) or lowered.n_inputs == N_INPUTS
    query = query_of("(<= (* 3 A) (* 3 B7[0,0]))", "(>= A B7[0,0])", "(== B7[0,1] B7[0,0])")
    lowered = lower_query(query_of("(== A B7[0,0])", "(== B7[0,1] B7[0,0])"))
    assert lowered.n_inputs == 1
    assert lower_query(query).n_inputs == 1
