"""Piecewise linear activations: Abs, PRelu, ThresholdedRelu, HardSigmoid, Shrink."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.families.example import Example, numbers
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.piecewise import PiecewiseLinear
from verifier.ops.relu import Relu


def absolute(name: str, builder: Builder, value: Value) -> Value:
    """|x|."""
    return builder.add(name, PiecewiseLinear.of(value.size, [0], [-1, 1], [0, 0]), [value])


@reads("Abs", folds=True)
def read_abs(node: OnnxNode, builder: Builder) -> Operand:
    """|x|."""
    operand = node.operand(0)
    return (
        np.abs(operand)
        if isinstance(operand, np.ndarray)
        else absolute(node.name, builder, operand)
    )


@reads("PRelu")
def read_prelu(node: OnnxNode, builder: Builder) -> Operand:
    """x where positive, else slope x; constant slopes broadcast to x."""
    value, slope = node.value(0), node.needed_weights(1, "slope")
    leak = np.broadcast_to(slope, value.shape).reshape(-1)
    if (leak == leak[0]).all() and 0 <= leak[0] <= 1:
        return builder.add(node.name, Relu.of(value.size, float(leak[0])), [value])
    operator = PiecewiseLinear.of(value.size, [0], [leak, 1], [0, 0])
    return builder.add(node.name, operator, [value])


@reads("ThresholdedRelu")
def read_thresholded_relu(node: OnnxNode, builder: Builder) -> Operand:
    """x where x > alpha, else 0."""
    value, alpha = node.value(0), _single(node, "alpha", 1.0)
    operator = PiecewiseLinear.of(value.size, [alpha], [0, 1], [0, 0], [0])
    return builder.add(node.name, operator, [value])


@reads("HardSigmoid")
def read_hard_sigmoid(node: OnnxNode, builder: Builder) -> Operand:
    """max(0, min(1, alpha x + beta))."""
    value = node.value(0)
    return hard_sigmoid(
        node.name, builder, value, _single(node, "alpha", 0.2), _single(node, "beta", 0.5)
    )


def hard_sigmoid(name: str, builder: Builder, value: Value, alpha: float, beta: float) -> Value:
    """max(0, min(1, alpha x + beta))."""
    if alpha == 0:
        level = min(max(beta, 0.0), 1.0)
        return builder.rearrange(name, value, np.full(value.shape, -1), np.full(value.shape, level))
    ends = [-beta / alpha, (1 - beta) / alpha]
    levels = [0, beta, 1] if alpha > 0 else [1, beta, 0]
    operator = PiecewiseLinear.of(value.size, sorted(ends), [0, alpha, 0], levels)
    return builder.add(name, operator, [value])


@reads("Shrink")
def read_shrink(node: OnnxNode, builder: Builder) -> Operand:
    """x - bias above lambd, x + bias below - lambd, 0 in between."""
    value = node.value(0)
    limit, bias = _single(node, "lambd", 0.5), _single(node, "bias", 0.0)
    if limit < 0:
        # Below - lambd the first rule holds, above it the second.
        kinks, offsets, values = [-limit], [bias, -bias], [-limit - bias]
        operator = PiecewiseLinear.of(value.size, kinks, [1, 1], offsets, values)
    else:
        operator = PiecewiseLinear.of(
            value.size, [-limit, limit], [1, 0, 1], [bias, 0, -bias], [0, 0]
        )
    return builder.add(node.name, operator, [value])


def _single(node: OnnxNode, attribute: str, default: float) -> float:
    """An attribute as ONNX Runtime holds it, in float32."""
    return float(np.float32(node.number(attribute, default)))


@examples("Abs", "PRelu")
def _kinks_at_zero() -> Iterator[Example]:
    yield Example("Abs", ((2, 3),))
    yield Example("PRelu", ((2, 3), np.full((1,), 0.25, dtype=np.float32)))
    yield Example("PRelu", ((2, 3), numbers(3)))
    yield Example("PRelu", ((1, 2, 2), 2 * numbers(2, 1)))


@examples("ThresholdedRelu", "Shrink")
def _jumps() -> Iterator[Example]:
    yield Example("ThresholdedRelu", ((2, 3),))
    yield Example("ThresholdedRelu", ((4,),), {"alpha": -0.7})
    yield Example("Shrink", ((2, 3),))
    yield Example("Shrink", ((4,),), {"lambd": 0.9, "bias": 0.4})
    yield Example("Shrink", ((4,),), {"lambd": -0.9, "bias": 0.4})


@examples("HardSigmoid")
def _hard_sigmoid() -> Iterator[Example]:
    yield Example("HardSigmoid", ((2, 3),), low=-4.0, high=4.0)
    yield Example("HardSigmoid", ((4,),), {"alpha": 0.7, "beta": 0.3})
    yield Example("HardSigmoid", ((4,),), {"alpha": -0.7, "beta": -0.3})
