"""Operators on quantised numbers that ONNX Runtime's own tools write: the domain com.microsoft.

Each is its operator on dequantised numbers, quantised again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families.example import Example, scalar
from verifier.families.onnx_node import OnnxNode, Operand, axis_of, move
from verifier.families.registry import examples, reader_of, reads
from verifier.graph import Builder, Value
from verifier.ops.matmul import matrix_product
from verifier.ops.mul import multiply
from verifier.ops.quantise import UINT8, dequantised, quantised
from verifier.ops.sum import add, concatenate

UNARY = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
}
"""The operator on real numbers that each stands for."""


def _one(node: OnnxNode, place: int, what: str) -> np.ndarray:
    """A constant number; 0 where a zero point is left out."""
    given = node.constant(place, what)
    if given is None:
        return np.zeros((), dtype=np.uint8)
    if given.size != 1:
        message = f"{given.size} numbers as {what}, need one"
        raise UnsupportedModel(message)
    return given.reshape(())


def _number(node: OnnxNode, builder: Builder, place: int) -> Operand:
    """The real numbers that an operand stands for: its scale and zero point follow it."""
    operand = node.operand(place)
    scale = node.needed_weights(place + 1, "scale").reshape(())
    zero = _one(node, place + 2, "zero point").astype(np.float64)
    if isinstance(operand, np.ndarray):
        return np.asarray((operand.astype(np.float64) - zero) * scale)
    return dequantised(f"{node.name}/number{place}", builder, operand, scale, zero)


def _result(node: OnnxNode, builder: Builder, value: Operand, place: int) -> Value:
    """A value quantised by the scale and the zero point from a place on."""
    if isinstance(value, np.ndarray):
        message = "constants only"
        raise UnsupportedModel(message)
    scale, zero = _one(node, place, "scale"), _one(node, place + 1, "zero point")
    target = zero.astype(np.float64), zero.dtype
    factor = np.asarray(1.0 / scale.astype(np.float64))
    return quantised(node.name, builder, value, factor, target)


def _of_two(
    combine: Callable[[str, Builder, Operand, Operand], Operand],
) -> Callable[[OnnxNode, Builder], Operand]:
    def read(node: OnnxNode, builder: Builder) -> Operand:
        left, right = _number(node, builder, 0), _number(node, builder, 3)
        both = all(isinstance(x, np.ndarray) for x in (left, right))
        total = left if both else combine(f"{node.name}/real", builder, left, right)
        return _result(node, builder, total, 6)

    return read


reads("com.microsoft.QLinearAdd")(_of_two(add))
reads("com.microsoft.QLinearMul")(_of_two(multiply))


@reads(*(f"com.microsoft.{name}" for name in UNARY))
def read_unary(node: OnnxNode, builder: Builder) -> Operand:
    """A function of one operand."""
    if node.flag("channels_last", 0):
        message = "channels_last"
        raise UnsupportedModel(message)
    op_type, given = UNARY[node.op_type], _number(node, builder, 0)
    inner = replace(node, op_type=op_type, name=f"{node.name}/real", inputs=(given,))
    if op_type == "Softmax":
        attributes = {"axis": node.flag("axis", -1)}
        inner = replace(inner, attributes=attributes, opset=node.flag("opset", node.opset))
    entry = reader_of(op_type)
    assert entry is not None
    return _result(node, builder, entry.read(inner, builder), 3)


@reads("com.microsoft.QLinearConcat")
def read_concat(node: OnnxNode, builder: Builder) -> Operand:
    """Arrays side by side; the output's scale and zero point come first."""
    parts = [_number(node, builder, place) for place in range(2, len(node.inputs), 3)]
    axis = axis_of(node.flag("axis", 0), len(parts[0].shape))
    return _result(node, builder, concatenate(f"{node.name}/real", builder, parts, axis), 0)


@reads("com.microsoft.QGemm")
def read_gemm(node: OnnxNode, builder: Builder) -> Operand:
    """alpha A B + C: C is in units of all their scales; without a scale the result is real."""
    scales = [node.needed_weights(place, "scale") for place in (1, 4)]
    left, right = node.operand(0), node.operand(3)
    zeros = [node.weights(place, "zero point") for place in (2, 5)]
    if isinstance(left, np.ndarray) or not isinstance(right, np.ndarray):
        message = "matrices other than a computed one and a constant"
        raise UnsupportedModel(message)
    if node.flag("transA", 0):
        left = move(builder, f"{node.name}/transA", left, np.transpose)
    first, second = (np.zeros(()) if z is None else z.reshape(-1) for z in zeros)
    matrix = right.astype(np.float64)
    # Scales and zero points of columns are those of the matrix as it is multiplied.
    matrix = (matrix.T if node.flag("transB", 0) else matrix) - second
    shifted = add(f"{node.name}/zero", builder, left, np.asarray(-first.reshape(())))
    total: Operand = matrix_product(f"{node.name}/product", builder, shifted, matrix)
    bias = node.weights(6, "bias")
    unit = node.number("alpha", 1.0) * scales[0].reshape(()) * scales[1].reshape(-1)
    if bias is not None:
        total = add(f"{node.name}/bias", builder, total, bias)
    real = multiply(f"{node.name}/real", builder, total, unit)
    return real if node.get(7) is None else _result(node, builder, real, 7)


def _parameters(scale: float, zero: int) -> tuple[np.ndarray, np.ndarray]:
    return scalar(scale), np.array(zero, dtype=np.uint8)


@examples(*(f"com.microsoft.{name}" for name in ("QLinearAdd", "QLinearMul", "QLinearConcat")))
def _several() -> Iterator[Example]:
    given = {"low": 0.0, "output_type": UINT8}
    first, second, result = _parameters(0.02, 60), _parameters(0.03, 9), _parameters(0.0371, 101)
    for name in ("QLinearAdd", "QLinearMul"):
        inputs = ((2, 3), *first, (3,), *second, *result)
        yield Example(f"com.microsoft.{name}", inputs, quantised=(0, 3), **given)
    inputs = (*result, (2, 1), *first, (2, 2), *second)
    yield Example("com.microsoft.QLinearConcat", inputs, {"axis": 1}, quantised=(2, 5), **given)


@examples(*(f"com.microsoft.{name}" for name in UNARY))
def _unary() -> Iterator[Example]:
    pool = {"kernel_shape": [2, 2], "count_include_pad": 0}
    attributes = {"QLinearAveragePool": pool, "QLinearLeakyRelu": {"alpha": 0.1}}
    attributes["QLinearSoftmax"] = {"axis": 1, "opset": 13}
    ends = {"QLinearSigmoid": _parameters(1 / 256, 0), "QLinearSoftmax": _parameters(1 / 256, 0)}
    given = {"low": 0.0, "output_type": UINT8, "quantised": (0,)}
    for name in UNARY:
        inputs = ((1, 2, 3, 3), *_parameters(0.0213, 60), *ends.get(name, _parameters(0.0171, 37)))
        yield Example(f"com.microsoft.{name}", inputs, attributes.get(name, {}), **given)
    inputs = ((1, 2, 2), *_parameters(0.0213, 60), *ends["QLinearSoftmax"])
    options = {"axis": 1, "opset": 12}
    yield Example("com.microsoft.QLinearSoftmax", inputs, options, **given)


@examples("com.microsoft.QGemm")
def _gemm() -> Iterator[Example]:
    weights = np.random.default_rng(0).integers(-9, 9, (4, 3)).astype(np.int8)
    scales = np.array([0.25, 0.125, 0.5, 0.0625], dtype=np.float32)
    bias = np.array([5, -40, 0, 7], dtype=np.int32)
    inputs = ((2, 3), *_parameters(0.02, 60), weights, scales, np.zeros(4, np.int8), bias)
    options = {"transB": 1}
    yield Example("com.microsoft.QGemm", inputs, options, low=0.0, quantised=(0,))
    given = {"low": 0.0, "output_type": UINT8, "quantised": (0,)}
    yield Example("com.microsoft.QGemm", (*inputs, *_parameters(0.0371, 101)), options, **given)
