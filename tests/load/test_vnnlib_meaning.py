"""Both parsers mean what a naive recursive evaluation means, in both versions."""

import sys
from dataclasses import fields

import numpy as np
import pytest
import vnnlib
from hypothesis import given
from hypothesis import strategies as st

from tests.load.formulas import (
    FLAT_HEAD,
    N_INPUTS,
    TENSOR_HEAD,
    flat_text,
    formulas,
    nested,
    plain,
    points,
    properties,
    spaces,
    tensor_text,
    true,
)
from verifier.load.vnnlib import exact_rows, parse_query
from verifier.load.vnnlib.scan import scan
from verifier.load.vnnlib.text import Text
from verifier.load.vnnlib.vocabulary import flat_vocabulary


def holds(query, point):
    values = np.array([float(x) for x in point])
    return query.holds(values[:N_INPUTS], values[N_INPUTS:])


def assert_same(left, right):
    assert left.network == right.network
    assert left.version == right.version
    assert len(left.assertions) == len(right.assertions)
    for one, other in zip(left.assertions, right.assertions, strict=True):
        for field in fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            np.testing.assert_array_equal(a, b, err_msg=field.name)
            assert a.dtype == b.dtype


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("write", [flat_text, tensor_text])
@given(property_=properties, at=st.lists(points, min_size=1, max_size=8), space=spaces)
def test_a_query_holds_where_a_naive_evaluation_says_so(fast, write, property_, at, space):
    query = parse_query(write(property_, space), "p", fast=fast)
    for point in at:
        assert holds(query, point) == all(true(formula, point) for formula in property_)


@given(property_=properties, at=st.lists(points, min_size=1, max_size=8))
def test_the_floating_point_filter_agrees_on_numbers_with_few_digits(property_, at):
    query = parse_query(flat_text(property_), "p")
    values = np.array([[float(x) for x in point] for point in at])
    held = query.holds_nearly(values[:, :N_INPUTS], values[:, N_INPUTS:])
    assert held.tolist() == [holds(query, point) for point in at]


digits = st.text("0123456789", min_size=1, max_size=26)
bodies = st.one_of(
    digits,
    st.tuples(digits, digits).map(".".join),
    digits.map(lambda text: text + "."),
    digits.map(lambda text: "." + text),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda x: repr(abs(x))),
    st.floats(1e-7, 10).map(lambda x: repr(abs(x))),
    st.integers(0, 2**54).map(lambda n: repr(n / 2**53)),
)
powers = st.one_of(
    st.just(""),
    st.tuples(st.sampled_from("eE"), st.sampled_from(["", "-", "+"]), st.integers(0, 30)).map(
        lambda parts: "".join(map(str, parts))
    ),
)
literals = st.tuples(st.sampled_from(["", "-", "+"]), bodies, powers).map(
    lambda parts: parts[0] + parts[1] + (parts[2] if "e" not in parts[1] else "")
)


def bounded(literal):
    return (FLAT_HEAD + f"(assert (<= X_0 {literal}))").encode()


@given(literals)
def test_literals_become_the_nearest_double_on_both_paths(literal):
    if not np.isfinite(float(literal)) or (float(literal) == 0 and literal.strip("+-0.")):
        return
    query = parse_query(bounded(literal), "p")
    (rows,) = exact_rows(bounded(literal), "p")
    assert query.assertions[0].bound.tolist() == [float(literal)]
    assert query.assertions[0].rounded.tolist() == [float(literal) != rows[0].bound]
    assert_same(query, parse_query(bounded(literal), "p", fast=False))


@pytest.mark.parametrize(
    "literal",
    ["1.5e-1000000000000000000", "0.1e-18446744073709551615", "1e99999999999999999999999999"],
)
def test_absurd_exponents_do_not_wrap_around(literal):
    for fast in (False, True):
        with pytest.raises(Exception, match="need a decimal number in range"):
            parse_query(bounded(literal), "p", fast=fast)


@given(
    st.lists(nested(plain, max_leaves=12) | formulas, min_size=1, max_size=8),
    st.sampled_from([flat_text, tensor_text]),
    spaces,
)
def test_the_fast_path_gives_the_same_arrays_as_the_general_path(property_, write, space):
    data = write(property_, space)
    assert_same(parse_query(data, "p"), parse_query(data, "p", fast=False))


@given(st.lists(plain, min_size=1, max_size=40), st.integers(20, 120))
def test_where_the_text_is_cut_does_not_matter(comparisons, piece):
    data = flat_text([("or", *(("and", part, part) for part in comparisons)), *comparisons])
    whole = parse_query(data, "p")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[scan.__module__], "PIECE", piece)
        assert_same(parse_query(data, "p"), whole)


def test_regular_files_take_the_fast_path():
    text = Text.of(flat_text([("and", ("<=", ("variable", 0), ("number", "1e-5")))]), "p")
    kinds = scan(text, 0, flat_vocabulary()).kinds
    assert len(kinds) == 5 + 7  # declarations; ( assert ( and COMPARISON ) )


WORDS = "( ) X_0 X_00 Y_1 Y_9 <= = 0 .5 1e5 assert and or declare-const Real ; nan 0x1"
TOKENS = [*WORDS.encode().split(), b"\n"]


@given(st.lists(st.binary(max_size=6) | st.sampled_from(TOKENS), max_size=30))
def test_rubbish_is_rejected_alike_by_both_paths(pieces):
    data = FLAT_HEAD.encode() + b" ".join(pieces)
    outcomes = []
    for fast in (True, False):
        try:
            outcomes.append(parse_query(data, "p", fast=fast))
        except Exception as problem:
            outcomes.append(f"{type(problem).__name__}: {problem}")
    if isinstance(outcomes[0], str) or isinstance(outcomes[1], str):
        assert outcomes[0] == outcomes[1]
        assert outcomes[0].startswith("PropertyError: p:")
    else:
        assert_same(*outcomes)


# ------------------------------------------------------------------- the standard's own parser


def oracle_value(node, point):
    match node:
        case vnnlib.Var():
            index = tuple(node.indices)
            return point[{"A": 0, "B7": 1, "Out": 3}[node.name] + (index[-1] if index else 0)]
        case vnnlib.Negate():
            return -oracle_value(node.expr, point)
        case vnnlib.Plus():
            return sum(oracle_value(part, point) for part in node.args)
        case vnnlib.Minus():
            head, *rest = (oracle_value(part, point) for part in (node.head, *node.rest))
            return head - sum(rest)
        case vnnlib.Multiply():
            result = 1
            for part in node.args:
                result *= oracle_value(part, point)
            return result
    return type(point[0])(node.lexeme)


def oracle_true(node, point):
    match node:
        case vnnlib.And():
            return all(oracle_true(part, point) for part in node.args)
        case vnnlib.Or():
            return any(oracle_true(part, point) for part in node.args)
    left, right = oracle_value(node.lhs, point), oracle_value(node.rhs, point)
    return {
        vnnlib.LessEqual: left <= right,
        vnnlib.LessThan: left < right,
        vnnlib.GreaterEqual: left >= right,
        vnnlib.GreaterThan: left > right,
        vnnlib.Equal: left == right,
        vnnlib.NotEqual: left != right,
    }[type(node)]


@given(property_=properties, at=st.lists(points, min_size=1, max_size=6), space=spaces)
def test_the_reference_parser_of_the_standard_agrees(property_, at, space):
    data = tensor_text(property_, space)
    try:
        reference = vnnlib.parse_query_string(data.decode())
    except vnnlib.VNNLibException:
        return  # it wants a variable in every comparison
    query = parse_query(data, "p")
    for point in at:
        expected = all(oracle_true(part.expr, point) for part in reference.assertions)
        assert holds(query, point) == expected


@pytest.mark.parametrize(
    "assertion",
    [
        "(<= A[0] 1.0)",
        "(<= B7 1.0)",
        "(<= B7[0] 1.0)",
        "(<= B7[1,0] 1.0)",
        "(<= B7[0,2] 1.0)",
        "(<= C 1.0)",
        "(<= A 1.0 2.0)",
        "(and)",
        "(not (<= A 1.0))",
        "(<= A)",
        "(and A)",
        "(+ A 1.0)",
        "(<= (<= A 1.0) 1.0)",
        "(<= B7[0,] 1.0)",
        "(<= (+) A)",
        "(<= (*) A)",
        "(<= (-) A)",
        "()",
        "A",
    ],
)
def test_we_and_the_reference_parser_reject_the_same(assertion):
    text = TENSOR_HEAD + f"(assert {assertion})"
    with pytest.raises(vnnlib.VNNLibException):
        vnnlib.parse_query_string(text)
    for fast in (False, True):
        with pytest.raises(Exception, match=r"^p:5:"):
            parse_query(text.encode(), "p", fast=fast)
