"""What real files do: each spelling of a bound gives the same row."""

import numpy as np
import pytest

from tests.load.formulas import FLAT_HEAD, TENSOR_HEAD
from verifier.load.vnnlib import exact_rows, parse_query


def rows(data, *, fast=True):
    """All rows of a file with one clause: (terms, bound, strict)."""
    (assertion,) = parse_query(data, "p", fast=fast).assertions
    assert assertion.n_clauses == 1
    found = []
    for row in range(assertion.n_rows):
        entries = slice(assertion.row_start[row], assertion.row_start[row + 1])
        terms = dict(
            zip(
                assertion.variable[entries].tolist(),
                assertion.coefficient[entries].tolist(),
                strict=True,
            )
        )
        found.append((terms, float(assertion.bound[row]), bool(assertion.strict[row])))
    return found


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("(<= X_0 5)", [({0: 1}, 5, False)]),
        ("(>= 5 X_0)", [({0: 1}, 5, False)]),
        ("(<= (* -1 X_0) 5)", [({0: -1}, 5, False)]),
        ("(<= (* X_0 -1) 5)", [({0: -1}, 5, False)]),
        ("(<= (- X_0) 5.)", [({0: -1}, 5, False)]),
        ("(<= (- 5) X_0)", [({0: -1}, 5, False)]),
        ("(>= X_0 -5.0)", [({0: -1}, 5, False)]),
        ("(<= (* 2 X_0) 3)", [({0: 1}, 1.5, False)]),
        ("(<= X_0 X_1)", [({0: 1, 1: -1}, 0, False)]),
        ("(>= X_0 X_1)", [({0: -1, 1: 1}, 0, False)]),
        ("(>= Y_0 X_1)", [({1: 1, 3: -1}, 0, False)]),
        ("(< (- X_0 X_1) 0.5)", [({0: 1, 1: -1}, 0.5, True)]),
        ("(<= (+ X_0 0.1) 0.3)", [({0: 1}, 0.2, False)]),
        ("(<= X_0 X_0)", [({}, 0, False)]),
        ("(<= 1 2)", [({}, 1, False)]),
        ("(= X_0 1e-05)", [({0: 1}, 1e-05, False), ({0: -1}, -1e-05, False)]),
        ("(== 1e-05 X_0)", [({0: -1}, -1e-05, False), ({0: 1}, 1e-05, False)]),
        ("(and (and (<= X_0 1)) (<= X_1 2))", [({0: 1}, 1, False), ({1: 1}, 2, False)]),
        ("(and (<= X_0 1) (and (<= X_1 2)))", [({0: 1}, 1, False), ({1: 1}, 2, False)]),
        ("(or (and (<= X_0 1)))", [({0: 1}, 1, False)]),
        ("(or (or (<= X_0 +1.5E+0)))", [({0: 1}, 1.5, False)]),
        ("(<= X_0 -0.0)", [({0: 1}, 0, False)]),
    ],
)
def test_a_formula_gives_these_rows(formula, expected, fast):
    data = (FLAT_HEAD + f"(assert {formula})").encode()
    assert rows(data, fast=fast) == expected
    assert not np.signbit([bound for _, bound, _ in rows(data, fast=fast) if bound == 0]).any()


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        b"(declare-const X_0 Real)(declare-const Y_0 Real)(assert(<= X_0 5))",
        b"\n( declare-const\tX_0 Real )\r\n(declare-const Y_0 Real)( assert ( <=\nX_0\n5 ) )\n\n",
        b";(\n(declare-fun X_0 () Real)(declare-fun Y_0()Real); )\n(assert (<= X_0 ; 1)\n5)); end",
        b"(assert (<= X_0 5))(declare-const Y_0 Real)(declare-const X_0 Real)",
    ],
)
def test_layout_and_order_do_not_matter(data, fast):
    assert rows(data, fast=fast) == [({0: 1}, 5, False)]
    assert parse_query(data, "p", fast=fast).n_outputs == 1


def test_an_or_that_is_followed_by_assertions_is_one_part_of_a_conjunction():
    text = (
        "(assert (or (<= Y_0 1) (<= Y_0 2)))(assert (<= X_0 3))(assert (or (>= X_0 0)(>= X_1 0)))"
    )
    query = parse_query((FLAT_HEAD + text).encode(), "p")
    assert [part.n_clauses for part in query.assertions] == [1, 2, 2]
    assert not query.holds(np.array([4.0, 0, 0]), np.array([0.0, 0]))
    assert query.unmet(np.array([4.0, 0, 0]), np.array([5.0, 0])) == (0, 1)
    assert query.holds(np.array([3.0, 0, 0]), np.array([2.0, 0]))


def test_an_and_over_ors_is_several_assertions_and_not_a_product():
    pairs = " ".join("(or (<= X_0 1) (>= Y_0 2))" for _ in range(100))
    query = parse_query((FLAT_HEAD + f"(assert (and {pairs}))").encode(), "p")
    assert [part.n_clauses for part in query.assertions] == [2] * 100


@pytest.mark.parametrize("version", ["<2.0>", "2.0", "<2.1>"])
def test_versions_of_the_second_standard(version):
    text = TENSOR_HEAD.replace("<2.0>", version)
    query = parse_query(text.encode(), "p")
    assert query.version == version.strip("<>")
    assert query.assertions == ()


def test_tensors_are_numbered_in_order_of_declaration_and_in_c_order():
    text = """(vnnlib-version <2.0>)
        (declare-network N
            (declare-input second float32 [2, 3]) (declare-input first real [])
            (declare-output X1 real [1,1,2]) (declare-output X real [2]))
        (assert (and (<= second[1,2] 0) (<= first 1) (<= X1[0,0,1] 2) (<= X[ 1 ] 3)))"""
    for fast in (False, True):
        assert rows(text.encode(), fast=fast) == [
            ({5: 1}, 0, False),
            ({6: 1}, 1, False),
            ({8: 1}, 2, False),
            ({10: 1}, 3, False),
        ]
    query = parse_query(text.encode(), "p")
    names = ["second[0,0]", "second[1,2]", "first", "X1[0,0,0]", "X[1]"]
    assert [query.variable_name(variable) for variable in (0, 5, 6, 7, 10)] == names
    with pytest.raises(IndexError):
        query.variable_name(11)


@pytest.mark.parametrize("names", [("X1", "X2"), ("X1", "X01"), ("e1", "a1e2"), ("and", "or")])
def test_names_that_differ_in_their_digits_only_are_told_apart(names):
    text = f"""(vnnlib-version <2.0>)
        (declare-network N (declare-input {names[0]} real [2]) (declare-input {names[1]} real [2])
        (declare-output longer_than_sixteen_letters real [2]))
        (assert (and (<= {names[0]}[1] 0) (<= {names[1]}[1] 1)
                     (<= longer_than_sixteen_letters[1] 2)))"""
    for fast in (False, True):
        assert [terms for terms, _, _ in rows(text.encode(), fast=fast)] == [
            {1: 1},
            {3: 1},
            {5: 1},
        ]


def test_more_tensors_than_the_fast_path_knows():
    declared = "".join(f"(declare-input a{i} real [])" for i in range(40))
    text = f"""(vnnlib-version <2.0>)
        (declare-network N {declared} (declare-output b real []))(assert (<= a39 b))"""
    assert rows(text.encode()) == [({39: 1, 40: -1}, 0, False)]


def test_exact_rows_are_those_of_the_query_with_the_numbers_of_the_file():
    text = """(assert (or (<= Y_0 0.1) (<= (* 3 Y_1) 1)))(assert (<= X_0 0.1))(assert (> X_1 1))"""
    data = (FLAT_HEAD + text).encode()
    query, exact = parse_query(data, "p"), exact_rows(data, "p")
    assert [len(part) for part in exact] == [part.n_rows for part in query.assertions] == [2, 2]
    for assertion, part in zip(query.assertions, exact, strict=True):
        assert [float(row.bound) for row in part] == assertion.bound.tolist()
        different = [row.bound != float(row.bound) for row in part]
        assert different == assertion.rounded.tolist()
