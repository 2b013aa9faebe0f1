"""QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families.example import Example, scalar
from verifier.families.onnx_node import OnnxNode, Operand, axis_of
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.clip import Clip
from verifier.ops.mul import multiply
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.staircase import staircase
from verifier.ops.sum import add

UINT8, INT8 = 2, 3
"""ONNX's numbers of types."""
TYPES = {0: "uint8", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16"}
"""Types of quantised numbers; 0: none is named."""


def _parameters(node: OnnxNode, value: Value) -> tuple[np.ndarray, np.ndarray, np.dtype]:
    """(scale, zero point, type): constants that broadcast against the value."""
    scale, zero = node.needed_weights(1, "scale"), node.constant(2, "zero point")
    if node.flag("block_size", 0):
        message = "blocked quantisation"
        raise UnsupportedModel(message)
    dtype = _declared(node) if zero is None else zero.dtype
    if dtype.kind not in "iu":
        message = f"zero points of type {dtype}, need integers"
        raise UnsupportedModel(message)
    shift = np.zeros(1) if zero is None else zero.astype(np.float64)
    if scale.size == 1:
        return scale.reshape(()), shift.reshape(-1)[:1].reshape(()), dtype
    axis = axis_of(node.flag("axis", 1), len(value.shape))
    shape = [1] * len(value.shape)
    shape[axis] = scale.size
    return scale.reshape(shape), np.broadcast_to(shift, scale.shape).reshape(shape), dtype


def _declared(node: OnnxNode) -> np.dtype:
    """The integer type of the result where there is no zero point."""
    kind = node.flag("output_dtype", 0) if node.op_type == "QuantizeLinear" else 0
    if kind not in TYPES:
        message = f"an output of ONNX type {kind}"
        raise UnsupportedModel(message)
    return np.dtype(TYPES[kind])


@reads("QuantizeLinear")
def read_quantise(node: OnnxNode, builder: Builder) -> Operand:
    """round(x / scale) + zero point, halves to even, cut at the ends of the integer type."""
    value = node.value(0)
    if isinstance(node.operand(1), Value):
        return _by_computed(node, builder)
    scale, zero, dtype = _parameters(node, value)
    return quantised(node.name, builder, value, np.asarray(1.0 / scale), (zero, dtype))


def _by_computed(node: OnnxNode, builder: Builder) -> Value:
    """With a computed scale and zero point, as DynamicQuantizeLinear has them."""
    value, scale, zero = node.value(0), node.value(1), node.value(2, "a constant zero point")
    if scale.size != 1 or zero.size != 1:
        message = "computed scales, need one"
        raise UnsupportedModel(message)
    if builder.integers.get(zero.number) != UINT8:
        message = "a computed zero point that is not cast to uint8 only"
        raise UnsupportedModel(message)
    inverse = builder.add(f"{node.name}/inverse", Reciprocal.of(1), [scale], ())
    steps = multiply(f"{node.name}/steps", builder, value, inverse)
    whole = staircase(f"{node.name}/round", builder, steps, "round")
    total = add(f"{node.name}/zero", builder, whole, zero.reshape(()))
    ends = np.iinfo(np.uint8)
    return builder.add(node.name, Clip.of(total.size, float(ends.min), float(ends.max)), [total])


def quantised(
    name: str,
    builder: Builder,
    value: Value,
    factor: np.ndarray,
    target: tuple[np.ndarray, np.dtype],
) -> Value:
    """round(factor x) + zero, cut at the ends of an integer type; ``target``: zero and type."""
    zero, dtype = target
    ends = np.iinfo(dtype)
    steps = multiply(f"{name}/steps", builder, value, factor)
    whole = add(f"{name}/zero", builder, staircase(f"{name}/round", builder, steps, "round"), zero)
    operator = Clip.of(whole.size, float(ends.min), float(ends.max))
    return builder.add(name, operator, [whole])


@reads("DequantizeLinear")
def read_dequantise(node: OnnxNode, builder: Builder) -> Operand:
    """(x - zero point) scale."""
    value = node.value(0)
    scale, zero, _ = _parameters(node, value)
    return dequantised(node.name, builder, value, scale, zero)


def dequantised(
    name: str, builder: Builder, value: Value, scale: np.ndarray, zero: np.ndarray
) -> Value:
    """(x - zero) scale."""
    return multiply(name, builder, add(f"{name}/zero", builder, value, np.asarray(-zero)), scale)


@examples("QuantizeLinear")
def _quantise() -> Iterator[Example]:
    middle = np.array(100, dtype=np.uint8)
    yield Example("QuantizeLinear", ((2, 3), scalar(0.03125), middle), output_type=UINT8)
    yield Example("QuantizeLinear", ((2, 3), scalar(0.25)), output_type=UINT8)
    scales = np.array([0.25, 0.125, 0.5], dtype=np.float32)
    points = np.array([-3, 0, 100], dtype=np.int8)
    yield Example(
        "QuantizeLinear", ((2, 3), scales, points), {"axis": -1}, output_type=INT8, high=99.0
    )


@examples("QuantizeLinear")
def _typed() -> Iterator[Example]:
    options = {"output_dtype": INT8}
    yield Example("QuantizeLinear", ((2, 3), scalar(0.25)), options, opset=21, output_type=INT8)


@examples("DequantizeLinear")
def _dequantise() -> Iterator[Example]:
    scales = np.array([0.25, 0.125, 0.5], dtype=np.float32)
    yield Example("DequantizeLinear", ((2, 3), scalar(0.25)), opset=19, whole=(0,), high=9.0)
    yield Example("DequantizeLinear", ((2, 3), scales), {"axis": 1}, opset=19, whole=(0,), low=-9.0)
