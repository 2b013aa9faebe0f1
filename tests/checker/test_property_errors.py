"""What the checker does not understand of a property it refuses, in one line with a place."""

import time

import pytest

from verifier.checker.errors import Unreadable, Unsupported
from verifier.checker.property import read_property

HEAD = "".join(f"(declare-const {name} Real)\n" for name in ("X_0", "X_1", "Y_0", "Y_1"))


def read(text):
    return read_property((HEAD + text).encode())


# ---------------------------------------------------------------------------------- VNN-LIB 2.0

TENSORS = """(vnnlib-version <2.0>) ; a comment with (
(declare-network N
  (declare-input A float32 [2, 3]) (declare-input B real [])
  (declare-output C float32 [1,1,2]) (declare-output D real [ 2 ]))
"""


def test_tensors_are_numbered_in_row_major_order():
    text = TENSORS + "(assert (<= (+ A[1,0] (* 2 B) (* 3 C[0,0,1]) (* 4 D[ 1 ]) (* 5 A[0, 2])) 7))"
    prop = read_property(text.encode())
    assert (prop.n_inputs, prop.n_outputs, prop.n_cases) == (7, 4, 1)
    row = prop.choices[1][0].clauses[0][0]
    assert row.coefficients == ((2, 5), (3, 1), (6, 2), (8, 3), (10, 4))
    assert [tensor.shape for tensor in prop.tensors] == [(2, 3), (), (1, 1, 2), (2,)]


@pytest.mark.parametrize(
    "reference",
    [
        "A",
        "A[0]",
        "A[0,0,0]",
        "A[2,0]",
        "A[0,3]",
        "A[00,1]",
        "A[0 1]",
        "A[-1,0]",
        "B[0]",
        "B[]",
        "A[0,1",
        "A [0,1]",
        "C[1 0,0,0]",
        "N",
        "X_0",
        "A[0,]",
        "[0]",
        "A[0,1][0]",
        "a[0,0]",
        "A[0;1]",
        "A[0x0,0]",
        "A[0,0]]",
    ],
)
def test_references_that_name_no_element(reference):
    with pytest.raises((Unreadable, Unsupported), match=r"^line 5, column"):
        read_property((TENSORS + f"(assert (<= {reference} 1))").encode())


def test_flat_names_in_either_form_of_declaration():
    text = b"(declare-fun X_0 () Real)\r\n(declare-const Y_0 Real);end\r\n(assert(<= X_0 Y_0))"
    assert read_property(text).choices[1][0].clauses[0][0].coefficients == ((0, 1), (1, -1))


# --------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "text",
    [
        "(assert (<= Y_0 Y_2))",
        "(assert (<= Y_0 Y_01))",
        "(assert (<= Y_0 1_0))",
        "(assert (<= Y_0 nan))",
        "(assert (<= Y_0 inf))",
        "(assert (<= Y_0 1/3))",
        "(assert (<= Y_0 0x1))",
        "(assert (<= Y_0 1e1000))",
        "(assert (<= Y_0 1e999))",
        "(assert (<= (* 1e-999 Y_0) 1))",
        "(assert (<= Y_0 1e))",
        "(assert (<= Y_0 .))",
        "(assert (<= Y_0 \u0663))",
        "(assert (<= Y_0\u00a01))",
        "(assert (<= Y_0 1 2))",
        "(assert (<= Y_0))",
        "(assert ())",
        "(assert (and))",
        "(assert (or))",
        "(assert (or () (<= Y_0 1)))",
        "(assert (<= () 1))",
        "(assert (<= (and (<= Y_0 1)) 1))",
        "(assert (<= (+) 1))",
        "(assert (and Y_0))",
        "(assert Y_0)",
        "(assert true)",
        "(assert)",
        "(assert (<= Y_0 1) (<= Y_1 1))",
        "(assert (not (<= Y_0 1)))",
        "(assert (=> (<= Y_0 1) (<= Y_1 1)))",
        "(assert (!= Y_0 1))",
        "(assert (Y_0 <= 1))",
        "(assert ((<= Y_0 1)))",
        "(assert (<= (* Y_0 Y_0) 1))",
        "(assert (<= (* Y_0 X_0) 1))",
        "(assert (<= (/ Y_0 2) 1))",
        "(assert (ite (<= Y_0 1) (<= Y_0 1) (<= Y_0 1)))",
        "(assert (assert (<= Y_0 1)))",
        "(assert (declare-input X real [2]))",
        "(assert (<= Y_0 1)",
        "(assert (<= Y_0 1)))",
        "rubbish",
        ")",
        "(check-sat)",
        "()",
        "(())",
        "(assert (<= |Y_0| 1))",
        '(assert (<= "Y_0" 1))',
        "(push)(assert (<= Y_0 1))",
        "(declare-const Y_0 Real)",
        "(declare-const Y_3 Real)",
        "(declare-const Y_02 Real)",
        "(declare-const Y_2 Int)",
        "(declare-const Z Real)",
        "(assert (<= Y_0 1))(declare-const Y_2 Real)",
        "(declare-network N (declare-input A real [2]) (declare-output B real [2]))",
        "(vnnlib-version <2.0>)",
        "; comment\r(assert (<= Y_0 1))",
        "(assert " + "(and " * 1000 + "(<= Y_0 1)" + ")" * 1001,
        "(assert " + "(and " * 100_000,
        "(assert (<= (* " + "9e999 " * 5000 + ") Y_0))",
        "(assert (<= " + "1" * 5000 + " Y_0))",
        "(assert (or (and" + " (or (<= Y_0 1) (<= Y_1 1))" * 100 + ")))",
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(text):
    with pytest.raises((Unreadable, Unsupported)) as caught:
        read(text)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "(declare-input A real [2])",
        "(declare-output A real [2])",
        "(declare-input A real [2]) (declare-output A real [2])",
        "(declare-input N real [2]) (declare-output A real [2])",
        "(declare-input A int8 [2]) (declare-output B real [2])",
        "(declare-input A real [0]) (declare-output B real [2])",
        "(declare-input A real [2,]) (declare-output B real [2])",
        "(declare-input A real 2) (declare-output B real [2])",
        "(declare-input A real [99999,99999]) (declare-output B real [2])",
        "(declare-input A[0] real [2]) (declare-output B real [2])",
        "(declare-input 1 real []) (declare-output B real [2])",
        "(declare-input A real [2] initialized) (declare-output B real [2])",
        '(declare-input A real [2]) (declare-hidden H real [2] "h") (declare-output B real [2])',
        "(equal-to M) (declare-input A real [2]) (declare-output B real [2])",
        "A",
    ],
)
def test_networks_that_are_refused(inside):
    text = f"(vnnlib-version <2.0>)(declare-network N {inside})(assert (<= 1 2))"
    with pytest.raises((Unreadable, Unsupported), match=r"^line 1, column"):
        read_property(text.encode())


def test_two_networks_are_refused():
    network = "(declare-network {} (declare-input A{} real [2]) (declare-output B{} real [2]))"
    text = "(vnnlib-version <2.0>)" + "".join(network.format(k, k, k) for k in "MN")
    with pytest.raises(Unsupported):
        read_property(text.encode())


def test_where_the_error_is():
    with pytest.raises(Unreadable, match=r"^line 6, column 11: 'Y_9' is neither"):
        read("; (\n  (assert (<= Y_9 1))")


def test_a_version_after_the_network_is_refused():
    version = "(vnnlib-version <2.0>)"
    network = "(declare-network N (declare-input A real [2]) (declare-output B real [2]))"
    with pytest.raises(Unsupported):
        read_property((version + network + version).encode())


def test_declared_variables_cost_nothing():
    many = "(declare-network N (declare-output Y real [1]) (declare-input X real [3,3333333]))"
    assertion = "(assert (<= (+ X[2,3333332] (* 2 Y[0])) 1))"
    started = time.process_time()
    prop = read_property(f"(vnnlib-version <2.0>){many}{assertion}".encode())
    assert time.process_time() - started < 0.5
    assert (prop.n_inputs, prop.n_outputs) == (9_999_999, 1)
    row = prop.choices[1][0].clauses[0][0]
    assert row.coefficients == ((9_999_998, 1), (9_999_999, 2))
