"""Products and convolutions of quantised numbers: MatMulInteger, ConvInteger, QLinearMatMul, ..."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families.example import Example, scalar
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.conv import convolved
from verifier.ops.matmul import matrix_product
from verifier.ops.quantise import UINT8, quantised
from verifier.ops.sum import subtract

INT32 = 6
"""ONNX's number of the type of sums."""


def _shifted(node: OnnxNode, builder: Builder, place: int, zero: int, axis: int) -> Operand:
    """An operand less its zero point, which may be one for each row or column."""
    operand, given = node.operand(place), node.get(zero)
    if isinstance(given, Value):
        return _less_computed(f"{node.name}/zero{place}", builder, operand, given)
    point = node.weights(zero, "zero point")
    if isinstance(operand, np.ndarray):
        operand = operand.astype(np.float64)
    if point is None or not point.any():
        return operand
    return subtract(f"{node.name}/zero{place}", builder, operand, _along(point, operand, axis))


def _less_computed(name: str, builder: Builder, operand: Operand, point: Value) -> Operand:
    if point.size != 1:
        message = f"{point.size} computed zero points, need one"
        raise UnsupportedModel(message)
    return subtract(name, builder, operand, point.reshape(()))


def _along(numbers: np.ndarray, operand: Operand, axis: int) -> np.ndarray:
    """Numbers along an axis of an operand; one number for all of it."""
    rank = len(operand.shape)
    if numbers.size == 1:
        return numbers.reshape(())
    if numbers.ndim > 1 or rank < 2:
        return numbers
    shape = [1] * rank
    shape[axis % rank] = numbers.size
    return numbers.reshape(shape)


def _requantised(
    node: OnnxNode, builder: Builder, value: Value, places: tuple[int, int, int], axis: int
) -> Value:
    """Sums of products as numbers of the output's type; places: two scales, the output's."""
    first, second, scale = (node.needed_weights(place, "scale") for place in places)
    zero = node.constant(places[2] + 1, "zero point")
    if zero is None or zero.dtype.kind not in "iu" or zero.size != 1 or scale.size != 1:
        message = "an output without one scale and one zero point"
        raise UnsupportedModel(message)
    factor = _along(first, value, -2) * _along(second, value, axis) / scale.reshape(())
    target = zero.astype(np.float64).reshape(()), zero.dtype
    return quantised(node.name, builder, value, np.asarray(factor), target)


def _one_value(left: Operand, right: Operand) -> None:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        message = "constant matrices"
        raise UnsupportedModel(message)


@reads("MatMulInteger")
def read_matmul_integer(node: OnnxNode, builder: Builder) -> Operand:
    """(A - its zero point) @ (B - its zero point)."""
    left, right = _shifted(node, builder, 0, 2, -2), _shifted(node, builder, 1, 3, -1)
    _one_value(left, right)
    return matrix_product(node.name, builder, left, right)


@reads("QLinearMatMul")
def read_qlinear_matmul(node: OnnxNode, builder: Builder) -> Operand:
    """The product of two dequantised matrices, quantised."""
    left, right = _shifted(node, builder, 0, 2, -2), _shifted(node, builder, 3, 5, -1)
    _one_value(left, right)
    total = matrix_product(f"{node.name}/product", builder, left, right)
    return _requantised(node, builder, total, (1, 4, 6), -1)


def _constant(node: OnnxNode, operand: Operand) -> np.ndarray:
    if not isinstance(operand, np.ndarray):
        message = "computed weights"
        raise UnsupportedModel(message)
    return operand


def _value(operand: Operand) -> Value:
    if isinstance(operand, np.ndarray):
        message = "a constant as input 0"
        raise UnsupportedModel(message)
    return operand


@reads("ConvInteger")
def read_conv_integer(node: OnnxNode, builder: Builder) -> Operand:
    """The convolution of both less their zero points; padding is with the zero point."""
    value = _value(_shifted(node, builder, 0, 2, 1))
    weight = _constant(node, _shifted(node, builder, 1, 3, 0))
    return convolved(node, builder, value, weight, None)


@reads("QLinearConv")
def read_qlinear_conv(node: OnnxNode, builder: Builder) -> Operand:
    """The convolution of dequantised numbers, quantised; the bias is in units of both scales."""
    value = _value(_shifted(node, builder, 0, 2, 1))
    weight = _constant(node, _shifted(node, builder, 3, 5, 0))
    total = convolved(node, builder, value, weight, node.weights(8, "bias"))
    return _requantised(node, builder, total, (1, 4, 6), 1)


def _bytes(*shape: int, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    low, high = (-9, 9) if dtype is np.int8 else (0, 19)
    return np.random.default_rng([seed, *shape]).integers(low, high, shape).astype(dtype)


def _uint8(number: int) -> np.ndarray:
    return np.array(number, dtype=np.uint8)


@examples("MatMulInteger", "QLinearMatMul")
def _matrices() -> Iterator[Example]:
    given = {"quantised": (0,), "low": 0.0, "output_type": INT32}
    yield Example("MatMulInteger", ((2, 3), _bytes(3, 2)), **given)
    points = _uint8(20), np.array([3, 7], dtype=np.uint8)
    yield Example("MatMulInteger", ((2, 3), _bytes(3, 2), *points), **given)
    scales = scalar(1 / 64), scalar(0.25)
    inputs = ((2, 3), scales[0], _uint8(60), _bytes(3, 2), scales[1], _uint8(9))
    ends = scalar(0.371), _uint8(128)
    given["output_type"] = UINT8
    yield Example("QLinearMatMul", (*inputs, *ends), **given)


@examples("ConvInteger", "QLinearConv")
def _convolutions() -> Iterator[Example]:
    given = {"quantised": (0,), "low": 0.0, "output_type": INT32}
    pads = {"pads": [1, 0, 1, 0]}
    yield Example("ConvInteger", ((1, 2, 3, 3), _bytes(2, 2, 2, 2)), {"strides": [2, 1]}, **given)
    points = _uint8(20), _uint8(5)
    yield Example("ConvInteger", ((1, 1, 3, 3), _bytes(1, 1, 2, 2), *points), pads, **given)
    given["output_type"] = UINT8
    inputs = (1, 1, 3, 4), scalar(1 / 64), _uint8(60)
    scales = np.array([0.25, 0.125], dtype=np.float32)
    weights = _bytes(2, 1, 2, 2, dtype=np.int8), scales, np.zeros(2, dtype=np.int8)
    ends = scalar(0.371), _uint8(128), np.array([5, -40], dtype=np.int32)
    yield Example("QLinearConv", (*inputs, *weights, *ends), pads, **given)
