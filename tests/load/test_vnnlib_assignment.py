"""The witness text is what the competition's and the standard's readers take."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.formulas import FLAT_HEAD, TENSOR_HEAD
from verifier.errors import PropertyError
from verifier.load.vnnlib import format_assignment, parse_query

FLAT = parse_query(FLAT_HEAD.encode(), "p")
TENSORS = parse_query(TENSOR_HEAD.encode(), "p")
INPUTS, OUTPUTS = np.array([0.1, -1.0, 1e-7]), np.array([3.0, np.float32(0.1)])


def test_flat_variables_are_pairs():
    assert format_assignment(FLAT, INPUTS, OUTPUTS) == (
        "((X_0 0.1)\n(X_1 -1.0)\n(X_2 1e-07)\n(Y_0 3.0)\n(Y_1 0.10000000149011612))"
    )


def test_tensors_are_blocks_with_their_declared_types_and_shapes():
    assert format_assignment(TENSORS, INPUTS.reshape(1, 3), OUTPUTS) == (
        "A float32 []\n0.1\nB7 float32 [1,2]\n-1.0\n1e-07\n"
        "Out float32 [2]\n3.0\n0.10000000149011612"
    )


def test_the_point_must_fit():
    with pytest.raises(PropertyError, match="p has 3 inputs and 2 outputs, but the witness has 2"):
        format_assignment(FLAT, INPUTS[:2], OUTPUTS)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, min_size=5, max_size=5))
def test_the_numbers_survive(values):
    point = np.array(values)
    text = format_assignment(FLAT, point[:3], point[3:])
    read = [float(number) for number in re.findall(r"\([XY]_\d+ ([^\s()]+)\)", text)]
    assert read == values
    lines = format_assignment(TENSORS, point[:3], point[3:]).splitlines()
    headers = re.compile(r"^(\S+)\s+(\S+)\s+\[([0-9,\s]*)\]$")
    assert [float(line) for line in lines if not headers.match(line)] == values
