"""Moving windows meet what ONNX says: padding, strides, rests, groups."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.checker.onnx_files import agrees, single
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.errors import Unreadable, Unsupported
from verifier.checker.network import read_network
from verifier.checker.tensors import Step, Values
from verifier.checker.windows import inverse_of

FLOAT = Arithmetic()
STEP = Step(Values(FLOAT, [1]), ["y"], {}, [])


def kernel(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def convolution(shape: Any, weight: np.ndarray, **more: Any) -> bytes:
    return single("Conv", weight, shape=shape, **more)


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(
    ("size", "reach", "stride"), [*product((5, 6, 7), (1, 2, 3, 4), (1, 2, 3))]
)
def test_padding_by_the_size_of_the_output(auto, size, reach, stride):
    agrees(convolution((1, 1, size), kernel(1, 1, reach), auto_pad=auto, strides=[stride]))


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER"])
def test_padding_of_two_axes(auto):
    agrees(convolution((1, 2, 5, 6), kernel(3, 2, 2, 4), auto_pad=auto, strides=[2, 1]))


def test_a_mean_counts_no_padding_unless_asked():
    several: tuple[dict[str, Any], ...] = ({}, {"count_include_pad": 0}, {"count_include_pad": 1})
    for more in several:
        agrees(single("AveragePool", shape=(1, 1, 4), kernel_shape=[3], pads=[1, 1], **more))


@pytest.mark.parametrize("weight", [(4, 2, 3), (2, 4, 3), (8, 1, 3)])
def test_groups_of_channels(weight):
    groups = 4 // weight[1]
    agrees(convolution((2, 4, 6), kernel(*weight), group=groups, kernel_shape=[3]))


@pytest.mark.parametrize(("size", "known"), [((5, 5), True), ((4, 5), False), ((5, 4), False)])
def test_a_rest_in_any_axis_has_no_rule(size, known):
    """Kernel 2 by strides of 3: the rest is that of size - 2."""
    given: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1}
    data = single("AveragePool", shape=(1, 1, *size), **given)
    if known:
        agrees(data)
    else:
        with pytest.raises(Unsupported, match="ceil_mode"):
            read_network(data, FLOAT)


@pytest.mark.parametrize("pads", [[1, 0], [0, 1], [1, 1]])
def test_padding_is_said_in_one_way(pads):
    data = convolution((1, 1, 5), kernel(1, 1, 2), auto_pad="VALID", pads=pads)
    with pytest.raises(Unsupported, match="auto_pad VALID, pads"):
        read_network(data, FLOAT)


@pytest.mark.parametrize(
    ("weight", "more"),
    [
        ((1, 2, 3), {}),
        ((1, 1, 3), {"group": 2}),
        ((2, 1, 3), {"kernel_shape": [2]}),
        ((1, 1, 3), {"pads": [1]}),
        ((1, 1, 3), {"pads": [1, 1, 1]}),
        ((1, 1, 3), {"strides": [1, 1]}),
        ((1, 1, 3), {"strides": [0]}),
        ((1, 1, 3), {"dilations": [1, 1]}),
        ((1, 1, 3), {"dilations": [0]}),
    ],
)
def test_numbers_that_do_not_fit_are_refused(weight, more):
    with pytest.raises(Unreadable):
        read_network(convolution((1, 1, 6), kernel(*weight), **more), FLOAT)


@pytest.mark.parametrize("name", ["Conv", "AveragePool"])
def test_padding_that_fits_no_memory_is_not_made(name):
    weights = [kernel(1, 1, 2)] if name == "Conv" else []
    data = single(name, *weights, shape=(1, 1, 4), kernel_shape=[2], pads=[2**45, 2**45])
    with pytest.raises(Unsupported, match="elements"):
        read_network(data, FLOAT)
    data = single(name, *weights, shape=(1, 1, 4), kernel_shape=[2], pads=[0, 2**45])
    with pytest.raises(Unsupported, match="elements"):
        read_network(data, FLOAT)


def test_windows_that_fit_no_memory_are_not_made():
    data = single("AveragePool", shape=(1, 1, 2**20), kernel_shape=[2**19])
    with pytest.raises(Unsupported, match="elements"):
        read_network(data, FLOAT)


# ------------------------------------------------------------------------ transposed convolutions


def transposed(shape: Any, weight: np.ndarray, **more: Any) -> bytes:
    return single("ConvTranspose", weight, shape=shape, **more)


@pytest.mark.parametrize("pads", [[2, 0], [0, 2], [2, 2], [1, 2]])
def test_padding_as_far_as_the_kernel_reaches(pads):
    agrees(transposed((1, 1, 4), kernel(1, 1, 3), pads=pads))


@pytest.mark.parametrize("pads", [[3, 0], [0, 3]])
def test_padding_beyond_the_kernel_has_no_rule(pads):
    with pytest.raises(Unsupported, match="pads"):
        read_network(transposed((1, 1, 4), kernel(1, 1, 3), pads=pads), FLOAT)


@pytest.mark.parametrize(
    "more",
    [
        {"strides": [1, 1]},
        {"dilations": [1, 1]},
        {"pads": [1]},
        {"pads": [1, 1, 1]},
        {"output_padding": [0, 0]},
    ],
)
def test_numbers_of_another_rank_are_refused(more):
    with pytest.raises(Unreadable):
        read_network(transposed((1, 1, 4), kernel(1, 1, 3), **more), FLOAT)


# ---------------------------------------------------------------------------------------- quotients


def test_what_an_inverse_rounds():
    for numbers, rounds in (([2.0, -4.0, 0.5], 0), ([2.0, 3.0], 1), ([-2.0], 0), ([-3.0], 1)):
        found, terms = inverse_of(STEP, np.array(numbers))
        assert (found.tolist(), terms) == ((1 / np.array(numbers)).tolist(), rounds)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_inverses_are_far_from_the_ends_of_the_range(sign):
    for exponent in (900, -900):
        inner = np.array([sign * 2.0 ** (exponent - np.sign(exponent))])
        assert inverse_of(STEP, inner)[0][0] == 1 / inner[0]
        for outer in (exponent, exponent + np.sign(exponent)):
            with pytest.raises(ValueError, match="too small or too large"):
                inverse_of(STEP, np.array([1.0, sign * 2.0**outer]))
