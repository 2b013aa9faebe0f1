"""Every kind of bad input gives its own message on one line, the same on both paths."""

import gzip

import pytest

from tests.load.formulas import FLAT_HEAD, TENSOR_HEAD
from verifier.errors import PropertyError
from verifier.load.vnnlib import parse_query, read_query, text

FLAT = {
    "(assert (<= X_3 1))": "6:13: met 'X_3'; index 3 is out of range for X [3]",
    "(assert (<= Y_2 1))": "6:13: met 'Y_2'; index 2 is out of range for Y [2]",
    "(assert (<= X_01 1))": "6:13: met 'X_01'; need a number, X_i or Y_j",
    "(assert (<= x_0 1))": "6:13: met 'x_0'; need a number, X_i or Y_j",
    "(assert (<= Z 1))": "6:13: met 'Z'; need a number, X_i or Y_j",
    "(assert (<= X_0 nan))": "6:17: met 'nan'; need a number, X_i or Y_j",
    "(assert (<= X_0 inf))": "6:17: met 'inf'; need a number, X_i or Y_j",
    "(assert (<= X_0 -inf))": "6:17: met '-inf'; need a decimal number in range",
    "(assert (<= X_0 1_0))": "6:17: met '1_0'; need a decimal number in range",
    "(assert (<= X_0 0x1))": "6:17: met '0x1'; need a decimal number in range",
    "(assert (<= X_0 1.2.3))": "6:17: met '1.2.3'; need a decimal number in range",
    "(assert (<= X_0 1e))": "6:17: met '1e'; need a decimal number in range",
    "(assert (<= X_0 --1))": "6:17: met '--1'; need a decimal number in range",
    "(assert (<= X_0 1e500))": "6:17: met '1e500'; need a decimal number in range",
    "(assert (<= X_0 1e309))": "6:10: met a number beyond the range of doubles; need one within",
    "(assert (<= X_0 1e-390))": "6:10: met a number beyond the range of doubles; need one within",
    "(assert)": "6:1: assert has 0 operands; need one formula",
    "(assert (<= X_0 1) (<= X_1 1))": "6:1: assert has 2 operands; need one formula",
    "(assert X_0)": "6:9: met 'X_0'; need a comparison, and, or or",
    "(assert true)": "6:9: met 'true'; need a comparison, and, or or",
    "(assert 1)": "6:9: met '1'; need a comparison, and, or or",
    "(assert (+ X_0 1))": "6:9: met an expression; need a comparison, and, or or",
    "(assert (<= X_0 X_1 X_2))": "6:10: <= has 3 operands; need two",
    "(assert (<= X_0))": "6:10: <= has 1 operands; need two",
    "(assert (= 0 X_0 1))": "6:10: = has 3 operands; need two",
    "(assert (and))": "6:10: and has no operand; need one",
    "(assert (or))": "6:10: or has no operand; need one",
    "(assert (<= (+) X_0))": "6:14: + has no operand; need one",
    "(assert (<= (and (<= X_0 1)) 1))": "6:13: met a formula; need a number or an expression",
    "(assert (not (<= X_0 1)))": "6:10: operator 'not'; supported are != * + - < <= = == >",
    "(assert (=> (<= X_0 1) (<= X_1 1)))": "6:10: operator '=>'; supported are != * + - <",
    "(assert (let ((a 1)) (<= X_0 a)))": "6:16: operator 'a'; supported are",
    "(assert (ite (<= X_0 1) X_0 X_1))": "6:10: operator 'ite'; supported are",
    "(assert (/ X_0 2))": "6:10: operator '/'; supported are",
    "(assert (X_0 is 1))": "6:10: operator 'X_0'; supported are",
    "(assert ((<= X_0 1)))": "6:9: met a list without operator; need (OPERATOR ...)",
    "(assert ())": "6:9: met a list without operator; need (OPERATOR ...)",
    f"(assert (<= (* {'X_0 ' * 33}) 1))": "6:13: met a product of 33 variables; need at most 32",
    "(assert (<= X_0 1)": "6:1: this form lacks 1 closing parentheses; need )",
    "(assert (and (<= X_0 1)": "6:1: this form lacks 2 closing parentheses; need )",
    "(assert (<= X_0 1)))": "6:20: met ')'; need ( or the end of the file",
    "(assert (<= X_0 1)) rubbish": "6:21: met 'rubbish'; need ( or the end of the file",
    "(<= X_0 1)": "6:1: met '<='; need declare-const or assert",
    "(check-sat)": "6:1: met 'check-sat'; need declare-const or assert",
    "((assert (<= X_0 1)))": "6:1: met ''; need declare-const or assert",
    "()": "6:1: met ''; need declare-const or assert",
    "(declare-const X_0 Real)": "6:16: 'X_0' is declared twice",
    "(declare-const X_3 Real) (declare-fun X_3 () Real)": "6:39: 'X_3' is declared twice",
    "(declare-const X_4 Real)": "1:1: X_4 is declared but X_3 is not; need all numbers from 0 on",
    "(declare-const X_3 Int)": "6:20: variables of sort 'Int'; need Real",
    "(declare-const X_3 Bool)": "6:20: variables of sort 'Bool'; need Real",
    "(declare-const eps Real)": "6:16: variable 'eps'; need X_i or Y_j",
    "(declare-const X_3)": "6:1: a malformed declaration; need (declare-const X_i Real)",
    "(declare-const X_3 Real Real)": "6:1: a malformed declaration; need (declare-const X_i Real",
    "(declare-const)": "6:1: a malformed declaration; need (declare-const X_i Real)",
    "(declare-fun X_3 (Real) Real)": "6:1: a malformed declaration; need (declare-const X_i Real",
    "(vnnlib-version <2.0>)": "6:1: met 'vnnlib-version'; need declare-const or assert",
    "(assert " * 2 + "(<= X_0 1)" + "))": "6:10: operator 'assert'; supported are",
    "(assert (<= X_0 [1]))": "6:17: met '[1]'; need a number, X_i or Y_j",
    "(assert (<= X_0 ]))": "6:17: met ']'; need a number, X_i or Y_j",
    "(assert (<= X_0 1\x00))": "6:17: met '1\\x00'; need a decimal number in range",
    "(assert (<= X_0 " + "1" * 2000 + "))": "6:17: met '1111111111111111111111111111111111111...';",
    "(assert (<= X_0 (* " + "9e399 " * 80 + ")))": "6:17: met a product of too many digits; need a",
    "(assert " + "(and " * 2000 + "(<= X_0 1)": "6:1: this form lacks 2001 closing parentheses",
    "(assert " + "(and " * 2000 + "(<= X_0 1)" + ")" * 2001: "6:5004: lists nest deeper than 1000",
    "(assert (or " + "(and " + "(or (<= X_0 1) (>= Y_0 2))" * 30 + ")))": (
        "6:9: or over and makes more than 1000000 clauses; need fewer"
    ),
}

NETWORK = "(declare-network N (declare-input X real [2]) (declare-output Y real [1]))"
SECOND = "(declare-network M ? (declare-input X2 real [3]) (declare-output Y2 real [1]))"
ALIKE = "(declare-network M ? (declare-input X2 real [2]) (declare-output Y2 real [1]))"

TENSORS = {
    "(vnnlib-version <3.0>)": "1:1: VNN-LIB version '<3.0>'; supported are 2.0 and 2.1",
    "(vnnlib-version)": "1:1: VNN-LIB version ''; supported are 2.0 and 2.1",
    "(vnnlib-version <2.0>)": "1:23: no network is declared; need (declare-network ...)",
    "(vnnlib-version <2.0>)(assert (<= X[0] 1))": "1:23: no network is declared; need (declare-ne",
    f"(vnnlib-version <2.0>){NETWORK}{NETWORK}": "1:97: 'N' is declared twice",
    f"(vnnlib-version <2.0>){NETWORK}{NETWORK.replace('N ', 'M ')}": "1:97: 'X' is declared twice",
    f"(vnnlib-version <2.0>){NETWORK}{SECOND.replace('?', '(equal-to M)')}": (
        "1:97: met 'M'; need a network that is declared before"
    ),
    f"(vnnlib-version <2.0>){NETWORK}{SECOND.replace('?', '(equal-to)')}": (
        "1:117: need (equal-to NETWORK)"
    ),
    f"(vnnlib-version <2.0>){NETWORK}{SECOND.replace('?', '(isomorphic-to N)')}": (
        "1:97: 'M' has other tensors than 'N'; need the same"
    ),
    f"(vnnlib-version <2.0>){NETWORK}{ALIKE.replace('?', '(equal-to N)')}"
    f"{ALIKE.replace('?', '(equal-to M)').replace('M (', 'O (').replace('2', '3')}": (
        "1:186: 'M' resembles another network itself; name that one"
    ),
    f"(vnnlib-version <2.0>){''.join(SECOND.replace('M', f'M{i}') for i in range(17))}": (
        "1:1293: 17 networks; need at most 16"
    ),
    f"(vnnlib-version <2.0>){NETWORK}(assert (<= X[0] 1)){NETWORK}": (
        "1:117: met 'declare-network'; need assert, up to the end"
    ),
    f"(vnnlib-version <2.0>){NETWORK}(declare-const X_0 Real)": (
        "1:97: met 'declare-const'; need declare-network or assert"
    ),
    f"{NETWORK}": "1:1: met 'declare-network'; need (vnnlib-version <2.0>) before it",
}


def network(inside):
    return f"(vnnlib-version <2.0>)\n(declare-network N {inside})"


NETWORKS = {
    "(declare-input X real [2])": "2:1: met a network without declare-output; need one",
    "(declare-output Y real [2])": "2:1: met a network without declare-input; need one",
    "(equal-to M)": "2:1: met a network without declare-input; need one",
    "(isomorphic-to M K)": "2:21: need (isomorphic-to NETWORK)",
    "(declare-input X real [2])(equal-to M)": "2:47: met 'equal-to'; need declare-input or",
    '(declare-hidden H real [2] "a")': "2:21: hidden nodes; not supported yet",
    "(declare-input X real [2] initialized)": "2:46: initialized inputs; not supported yet",
    "(declare-input X real)": "2:21: need (declare-input NAME TYPE [n,...])",
    "(declare-input X real (2))": "2:21: need (declare-input NAME TYPE [n,...])",
    "(declare-input X real [a])": "2:42: shape '[a]'; need [n,...]",
    "(declare-input X real [2,])": "2:42: shape '[2,]'; need [n,...]",
    "(declare-input X real [0])": "2:42: shape '[0]'; need sizes from 1 and at most 2147483647 e",
    "(declare-input X real [99999,99999])": "2:42: shape '[99999,99999]'; need sizes from 1",
    "(declare-input 2X real [2])": "2:35: name '2X'; need a letter, then letters, digits or _",
    "(declare-input X real [2])(declare-input X real [2])": "2:47: 'X' is declared twice",
    "(declare-output Y real [1])(declare-input X real [2])": "2:48: an input after an output; need",
    "(declare-thing X real [2])": "2:21: met 'declare-thing'; need declare-input or declare-outp",
    "(declare-input X real [2147483647])(declare-output Y real [1])": (
        "2:1: met 2147483648 variables; need at most 2147483647"
    ),
    "word": "2:20: met a stray word; need (declare-input ...)",
    "((declare-input X real [2]))": "2:1: met a stray word; need (declare-input ...)",
}

INDICES = {
    "(assert (<= A[0] 1))": "5:13: met 'A[0]'; need 0 indices, for shape []",
    "(assert (<= B7 1))": "5:13: met 'B7'; need 2 indices, for shape [1,2]",
    "(assert (<= B7[0] 1))": "5:13: met 'B7[0]'; need 2 indices, for shape [1,2]",
    "(assert (<= B7[1,0] 1))": "5:13: met 'B7[1,0]'; index 1 is out of range for B7 [1,2]",
    "(assert (<= B7[0,2] 1))": "5:13: met 'B7[0,2]'; index 2 is out of range for B7 [1,2]",
    "(assert (<= B7[0,-1] 1))": "5:13: met 'B7[0,-1]'; need a number, NAME or NAME[i,j,...]",
    "(assert (<= B7[0,1.0] 1))": "5:13: met 'B7[0,1.0]'; need a number, NAME or NAME[i,j,...]",
    "(assert (<= B7[0 1] 1))": "5:13: met 'B7[0 1]'; need a number, NAME or NAME[i,j,...]",
    "(assert (<= B8[0,1] 1))": "5:13: met 'B8[0,1]'; need a number or an element of A, B7, Out",
    "(assert (<= B07[0,1] 1))": "5:13: met 'B07[0,1]'; need a number or an element of A, B7, Out",
    "(assert (<= b7[0,1] 1))": "5:13: met 'b7[0,1]'; need a number or an element of A, B7, Out",
    "(assert (<= X_0 1))": "5:13: met 'X_0'; need a number or an element of A, B7, Out",
    "(assert (<= Out[99999999999999999999] 1))": "5:13: met 'Out[99999999999999999999]'; index 9",
}

CASES = [
    *((FLAT_HEAD + text, message) for text, message in FLAT.items()),
    *((text, message) for text, message in TENSORS.items()),
    *((network(text), message) for text, message in NETWORKS.items()),
    *((TENSOR_HEAD + text, message) for text, message in INDICES.items()),
    ("", "1:1: no input is declared; need (declare-const X_0 Real)"),
    ("; nothing", "1:1: no input is declared; need (declare-const X_0 Real)"),
    ("rubbish", "1:1: met 'rubbish'; need ( or the end of the file"),
    ("(declare-const Y_0 Real)", "1:1: no input is declared; need (declare-const X_0 Real)"),
    ("(declare-const X_0 Real)\r(assert (<= X_1 0))", "2:13: met 'X_1'; index 1 is out of ran"),
    ("(declare-const X_0 Real)\r\n(assert (<= X_1 0))", "2:13: met 'X_1'; index 1 is out of"),
]


SIXTEEN = "abcdefghijklmnop"
LONG = TENSOR_HEAD.replace(" A float32 []", f" {SIXTEEN} float32 []")
CASES += [
    (LONG + f"(assert (<= {SIXTEEN}q 1))", f"5:13: met '{SIXTEEN}q'; need a number or an element"),
]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("text", "message"), CASES)
def test_bad_input_is_named_with_its_place(text, message, fast):
    with pytest.raises(PropertyError) as caught:
        parse_query(text.encode(), "spec.vnnlib", fast=fast)
    shown = str(caught.value)
    assert shown.startswith(f"spec.vnnlib:{message}"), shown
    assert "\n" not in shown


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PropertyError, match=r"none.vnnlib: No such file"):
        read_query(tmp_path / "none.vnnlib")


PLAIN = b"(declare-const X_0 Real)(assert (<= X_0 1))"


def test_gzip_is_recognised_by_its_content_and_not_by_its_name(tmp_path):
    path = tmp_path / "packed.vnnlib"
    path.write_bytes(gzip.compress(PLAIN[:20]) + gzip.compress(PLAIN[20:]))
    assert read_query(path).n_inputs == 1
    path = tmp_path / "plain.vnnlib.gz"
    path.write_bytes(PLAIN)
    assert read_query(path).n_inputs == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-9], "the gzip data ends early; need the whole file"),
        (lambda data: data[:12] + b"\xff\xff" + data[14:], "broken gzip data"),
        (lambda data: data + b"rubbish", "broken gzip data"),
    ],
)
def test_broken_gzip_data_is_named(tmp_path, change, message):
    path = tmp_path / "spec.vnnlib.gz"
    path.write_bytes(change(gzip.compress(PLAIN)))
    with pytest.raises(PropertyError, match=message):
        read_query(path)


def test_a_file_that_grows_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MAX_BYTES", 1000)
    path = tmp_path / "spec.vnnlib.gz"
    path.write_bytes(gzip.compress(b" " * 10_000))
    with pytest.raises(PropertyError, match="more than 1000 bytes when decompressed"):
        read_query(path)
    with pytest.raises(PropertyError, match="a property of 1001 bytes; at most 1000"):
        parse_query(b" " * 1001, "spec.vnnlib")
