"""The property as the checker reads it means what the text says, and is in the normal form."""

import operator
import random
import time
from fractions import Fraction
from itertools import pairwise
from math import prod

import pytest

from verifier.checker.errors import Unreadable, Unsupported
from verifier.checker.property import read_property

NAMES = ["X_0", "X_1", "Y_0", "Y_1"]
HEAD = "".join(f"(declare-const {name} Real)\n" for name in NAMES)
BOX = "(assert (and (<= X_0 2) (>= X_0 -2) (<= X_1 2.0) (<= -2 X_1)))\n"


def read(text):
    return read_property((HEAD + text).encode())


# --------------------------------------------------------------------- meaning, by brute force


def parse(text):
    """S-expressions, recursively: nothing in common with the reader."""
    tokens = text.replace("(", " ( ").replace(")", " ) ").split()

    def one(position):
        if tokens[position] != "(":
            return tokens[position], position + 1
        items, position = [], position + 1
        while tokens[position] != ")":
            item, position = one(position)
            items.append(item)
        return items, position + 1

    forms, position = [], 0
    while position < len(tokens):
        form, position = one(position)
        forms.append(form)
    return forms


OPERATORS = {
    "and": lambda *values: all(values),
    "or": lambda *values: any(values),
    "<=": operator.le,
    "<": operator.le,
    ">=": operator.ge,
    ">": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "+": lambda *values: sum(values),
    "-": lambda first, *others: first - sum(others) if others else -first,
    "*": lambda *values: prod(values),
}


def evaluate(expression, point):
    """A formula or a sum at a point; < and > as <= and >=."""
    if isinstance(expression, str):
        return point[expression] if expression in point else Fraction(expression)
    return OPERATORS[expression[0]](*(evaluate(operand, point) for operand in expression[1:]))


def random_sum(rng, depth):
    if depth == 0 or rng.random() < 0.4:
        return rng.choice([*NAMES, *NAMES, "1", "-2", "0.5", "-1.5e0", "+.5", "0", "2.", "10E-1"])
    symbol = rng.choice("+-*")
    if symbol == "*":
        return f"(* {rng.choice(['2', '-1', '0.5', '0', '(- 3)'])} {random_sum(rng, depth - 1)})"
    return f"({symbol} {' '.join(random_sum(rng, depth - 1) for _ in range(rng.randint(1, 3)))})"


def random_formula(rng, depth):
    if depth == 0 or rng.random() < 0.3:
        relation = rng.choice(["<=", ">=", "<=", ">=", "<", ">", "=", "=="])
        if rng.random() < 0.5:
            sides = [rng.choice(NAMES), rng.choice(["1", "-1", "0", "0.5"])]
            rng.shuffle(sides)
            return f"({relation} {' '.join(sides)})"
        return f"({relation} {random_sum(rng, 2)} {random_sum(rng, 2)})"
    parts = " ".join(random_formula(rng, depth - 1) for _ in range(rng.randint(1, 3)))
    return f"({rng.choice(['and', 'or'])} {parts})"


def met(rows, values):
    return all(sum(c * values[v] for v, c in row.coefficients) <= row.bound for row in rows)


def unsafe(cases, values):
    return any(
        all(low <= x <= high for low, x, high in zip(case.lower, values, case.upper, strict=False))
        and any(met(rows, values) for rows in case.clauses)
        for case in cases
    )


def assert_normal(rows, prop):
    """Rules 1, 2 and 5, with dense vectors."""
    vectors = []
    for row in rows:
        variables = [variable for variable, _ in row.coefficients]
        assert variables == sorted(set(variables))
        assert variables
        assert all(c != 0 for _, c in row.coefficients)
        if len(variables) == 1:
            assert variables[0] >= prop.n_inputs
            assert abs(row.coefficients[0][1]) == 1
        vector = [Fraction(0)] * (prop.n_inputs + prop.n_outputs)
        for variable, coefficient in row.coefficients:
            vector[variable] = coefficient
        vectors.append(vector)
    assert all(a < b for a, b in pairwise(vectors))


@pytest.mark.parametrize("seed", range(200))
def test_the_cases_are_the_formula(seed):
    rng = random.Random(seed)
    text = "".join(f"(assert {random_formula(rng, 3)})\n" for _ in range(rng.randint(1, 3)))
    prop = read(BOX + text)
    if prop.n_cases > 200:
        pytest.skip("too many cases for brute force")
    cases = [prop.case(number) for number in range(prop.n_cases)]
    for case in cases:
        for rows in case.clauses:
            assert_normal(rows, prop)
    assertions = [form[1] for form in parse(BOX + text)]
    grid = [Fraction(k, 2) for k in range(-5, 6)]
    for _ in range(40):
        values = [rng.choice(grid) for _ in NAMES]
        point = dict(zip(NAMES, values, strict=True))
        assert unsafe(cases, values) == all(evaluate(form, point) for form in assertions), point


# ---------------------------------------------------------------------------- the normal form


def only(text):
    prop = read(BOX + f"(assert {text})")
    assert prop.n_cases == 1
    return [
        [(tuple((NAMES[v], c) for v, c in row.coefficients), row.bound) for row in rows]
        for rows in prop.case(0).clauses
    ]


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("(<= Y_0 5)", [[((("Y_0", 1),), 5)]]),
        ("(<= 5 Y_0)", [[((("Y_0", -1),), -5)]]),
        ("(>= Y_0 1e-05)", [[((("Y_0", -1),), Fraction(-1, 100000))]]),
        ("(<= (* 4 Y_0) 0.1)", [[((("Y_0", 1),), Fraction(1, 40))]]),
        ("(<= Y_0 Y_1)", [[((("Y_0", 1), ("Y_1", -1)), 0)]]),
        ("(>= Y_0 Y_1)", [[((("Y_0", -1), ("Y_1", 1)), 0)]]),
        ("(> (* 2 Y_0) (+ X_1 3))", [[((("X_1", 1), ("Y_0", -2)), -3)]]),
        ("(- Y_0)", None),
        ("(= Y_0 1)", [[((("Y_0", -1),), -1), ((("Y_0", 1),), 1)]]),
        ("(and (<= Y_0 3) (<= Y_0 2))", [[((("Y_0", 1),), 2)]]),
        ("(or (<= Y_0 3) (<= Y_1 2))", [[((("Y_0", 1),), 3)], [((("Y_1", 1),), 2)]]),
        ("(<= 1 2)", [[]]),
        ("(<= 2 1)", []),
        ("(or (<= 1 2) (<= Y_0 1))", [[], [((("Y_0", 1),), 1)]]),
        ("(or (and (<= Y_0 1) (< 2 1)) (<= Y_0 3))", [[((("Y_0", 1),), 3)]]),
        ("(<= (- Y_0 Y_0) 0)", [[]]),
        ("(<= (+ Y_0 (* 3 2) (- 1)) (- Y_1 1 2))", [[((("Y_0", 1), ("Y_1", -1)), -8)]]),
    ],
)
def test_rows(formula, expected):
    if expected is None:
        with pytest.raises(Unreadable):
            only(formula)
        return
    assert only(formula) == expected


def test_distribution_is_lexicographic():
    rows = only("(and (or (<= Y_0 1) (<= Y_0 2)) (or (<= Y_1 3) (<= Y_1 4)))")
    assert [[bound for _, bound in clause] for clause in rows] == [[3, 1], [4, 1], [3, 2], [4, 2]]


def test_clauses_of_assertions_multiply_and_boxes_make_cases():
    prop = read(
        BOX
        + """(assert (or (<= Y_0 1) (<= Y_0 2)))
        (assert (or (and (<= X_0 0) (<= Y_1 5)) (>= X_0 1)))
        (assert (or (<= Y_1 3) (<= Y_1 4)))
        (assert (or (>= X_1 0) (>= X_1 1) (and (<= Y_1 0) (<= Y_0 0))))"""
    )
    assert prop.n_cases == 6
    assert [len(prop.case(k).clauses) for k in range(6)] == [4] * 6
    assert [prop.case(k).lower for k in range(6)] == [
        [-2, 0],
        [-2, 1],
        [-2, -2],
        [1, 0],
        [1, 1],
        [1, -2],
    ]
    assert [prop.case(k).upper[0] for k in range(6)] == [0] * 3 + [2] * 3
    bounds = [[row.bound for row in rows] for rows in prop.case(2).clauses]
    assert bounds == [[0, 0]] * 4  # (Y_1, Y_0): the least of each
    bounds = [[row.bound for row in rows] for rows in prop.case(3).clauses]
    assert bounds == [[3, 1], [4, 1], [3, 2], [4, 2]]


def test_an_empty_box_is_a_case():
    prop = read(BOX + "(assert (or (>= X_0 3) (<= X_0 0)))")
    assert prop.n_cases == 2
    case = prop.case(0)
    assert case.lower[0] > case.upper[0]


def test_a_case_without_rows_is_always_unsafe():
    assert read(BOX).case(0).clauses == ((),)


@pytest.mark.parametrize("number", [-1, 1])
def test_a_case_that_is_not_there(number):
    with pytest.raises(ValueError, match="case"):
        read(BOX).case(number)


def test_a_missing_bound_is_unsupported():
    with pytest.raises(Unsupported, match="input 1 lacks"):
        read("(assert (and (<= X_0 1) (>= X_0 0) (<= X_1 1)))").case(0)


def test_too_many_clauses():
    prop = read(BOX + "(assert (or (<= Y_0 1) (<= Y_1 2)))\n" * 17)
    with pytest.raises(Unsupported, match="clauses"):
        prop.case(0)


def test_large_files_take_seconds():
    count = 10_000
    names = [f"X_{i}" for i in range(count)]
    text = "".join(f"(declare-const {name} Real)\n" for name in [*names, "Y_0"])
    text += "".join(
        f"(assert (>= {name} -{i}.1234567890123456))\n(assert (<= {name} {i}.98765432109876543))\n"
        for i, name in enumerate(names)
    )
    started = time.process_time()
    assert len(read_property((text + "(assert (<= Y_0 0))").encode()).case(0).lower) == count
    assert time.process_time() - started < 10


def test_operands_of_an_outermost_and_are_assertions():
    """Inputs bounded beside an `or` over outputs: one case of two clauses, not two cases."""
    either = "(or (<= Y_0 0) (<= Y_1 1))"
    for text in (
        f"(assert (and (<= X_0 1) (>= X_0 0) {either}))",
        f"(assert (and (<= X_0 1) (and {either} (and (>= X_0 0) (<= X_1 9)))))",
    ):
        found = read(BOX + text)
        assert (found.n_cases, len(found.case(0).clauses)) == (1, 2)
    inner = read(BOX + f"(assert (or (and (<= X_0 1) {either}) (<= Y_1 -1)))")
    assert inner.n_cases == 3
    shape = [(len(choice[0].lower), len(choice[0].clauses)) for choice in inner.choices]
    assert shape == [(2, 1), (0, 1)]


def test_lists_nest_to_a_limit(monkeypatch):
    text = "(assert (<= (+ X_0 (- 1)) 0))"
    monkeypatch.setattr("verifier.checker.property.MAX_DEPTH", 5)
    assert read(BOX + text).n_cases == 1
    monkeypatch.setattr("verifier.checker.property.MAX_DEPTH", 4)
    with pytest.raises(Unsupported, match="lists nest deeper than 4"):
        read(BOX + text)
