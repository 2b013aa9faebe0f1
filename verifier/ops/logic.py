"""Truth values as 0 or 1: Not, And, Or, Xor; choices and casts that depend on values."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families import Rearrange
from verifier.families.example import Example, numbers, scalar
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.clip import Clip
from verifier.ops.kinked import absolute
from verifier.ops.mul import multiply
from verifier.ops.piecewise import PiecewiseLinear
from verifier.ops.relu import Relu
from verifier.ops.scale import Scale
from verifier.ops.staircase import Staircase, staircase
from verifier.ops.steps import BOOL, is_whole, step
from verifier.ops.sum import Sum, add, subtract

INT32, INT64 = 6, 7
"""ONNX's numbers of types that are wide enough for whatever a network computes."""
INFINITY = math.inf
NARROW = {
    2: (0.0, 2.0**8 - 1),
    3: (-(2.0**7), 2.0**7 - 1),
    4: (0.0, 2.0**16 - 1),
    5: (-(2.0**15), 2.0**15 - 1),
    INT32: (-(2.0**31), 2.0**31 - 1),
    INT64: (-(2.0**63), 2.0**63),
}
"""The ends of integer types, by ONNX's numbers."""
FOLDED = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}


def scaled(name: str, builder: Builder, value: Value, scale: float, bias: float = 0.0) -> Value:
    """``scale x + bias``."""
    n = value.size
    factor = None if scale == 1 else np.full(n, float(scale))
    shift = np.full(n, float(bias)) if bias else None
    return builder.add(name, Scale.of(n, factor, shift), [value])


def negated(name: str, builder: Builder, value: Value) -> Value:
    """-x, exactly."""
    return builder.add(name, Sum.of(value.size, (-1,)), [value])


def rectified(name: str, builder: Builder, value: Value) -> Value:
    """max(x, 0)."""
    return builder.add(name, Relu.of(value.size), [value])


@reads("Not", folds=True)
def read_not(node: OnnxNode, builder: Builder) -> Operand:
    """1 - a."""
    operand = node.operand(0)
    if isinstance(operand, np.ndarray):
        return np.logical_not(operand)
    return scaled(node.name, builder, operand, -1.0, 1.0)


@reads("And", "Or", "Xor", folds=True)
def read_connective(node: OnnxNode, builder: Builder) -> Operand:
    """And: max(a + b - 1, 0). Or: 1 - max(1 - a - b, 0). Xor: |a - b|."""
    name, left, right = node.name, node.operand(0), node.operand(1)
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return np.asarray(FOLDED[node.op_type](left, right))
    left, right = (x * 1.0 if isinstance(x, np.ndarray) else x for x in (left, right))
    if node.op_type == "Xor":
        return absolute(name, builder, subtract(f"{name}/difference", builder, left, right))
    total = add(f"{name}/sum", builder, left, right)
    if node.op_type == "And":
        return rectified(name, builder, scaled(f"{name}/excess", builder, total, 1.0, -1.0))
    neither = rectified(
        f"{name}/neither", builder, scaled(f"{name}/lack", builder, total, -1.0, 1.0)
    )
    return scaled(name, builder, neither, -1.0, 1.0)


def mix(
    name: str, builder: Builder, condition: Value, operands: tuple[Operand, Operand]
) -> Operand:
    """``c a + (1 - c) b`` for a computed condition c, 0 or 1: as b + c (a - b)."""
    yes, no = operands
    for x in operands:
        if not isinstance(x, np.ndarray) and builder.marks(x).any():
            message = "a computed choice of minus infinity"
            raise UnsupportedModel(message)
        if isinstance(x, np.ndarray) and not np.isfinite(x).all():
            message = "a computed choice of constants that are NaN or infinite"
            raise UnsupportedModel(message)
    shape = np.broadcast_shapes(condition.shape, yes.shape, no.shape)
    if isinstance(yes, np.ndarray) and isinstance(no, np.ndarray):
        yes, no = (np.broadcast_to(x.astype(np.float64), shape) for x in operands)
        rise: Operand = yes - no
    else:
        rise = subtract(f"{name}/rise", builder, yes, no)
    return add(name, builder, multiply(f"{name}/chosen", builder, condition, rise), no)


def cast_whole(name: str, builder: Builder, value: Value, to: int) -> Value:
    """A computed value as truth values (is it not 0?) or rounded towards 0."""
    if to == BOOL:
        return step(name, builder, value, (1, 0, 1), np.zeros(1))
    if to not in NARROW:
        message = f"a cast of a computed value to ONNX type {to}, need float, bool or integers"
        raise UnsupportedModel(message)
    least, most = NARROW[to]
    low, high = reach(builder, value)
    if to not in {INT32, INT64} and not least <= low <= high <= most:
        message = f"a cast to integers from {least:.0f} to {most:.0f} of what may lie beyond"
        raise UnsupportedModel(message)
    result = value if is_whole(builder, value) else truncated(name, builder, value)
    known = builder.integers.get(result.number, to)
    builder.integers[result.number] = to if known == to else 0
    return result


def reach(builder: Builder, value: Value) -> tuple[float, float]:
    """Bounds of a value, for all that its last operators say: infinite ones are none."""
    node = builder.nodes[value.number - 1] if value.number else None
    if node is None:
        return -INFINITY, INFINITY
    operator = node.operator
    source = Value(node.inputs[0], (operator.sizes[0],))
    if isinstance(operator, Clip):
        return operator.low, operator.high
    if isinstance(operator, Rearrange) and operator.kept is None:
        return reach(builder, source)
    if isinstance(operator, Staircase):
        low, high = np.floor(reach(builder, source)[0]), np.ceil(reach(builder, source)[1])
        return float(low), float(high)
    if isinstance(operator, PiecewiseLinear) and not operator.bends.any():
        levels = np.concatenate([operator.offsets.reshape(-1), operator.values.reshape(-1)])
        return float(levels.min()), float(levels.max())
    return -INFINITY, INFINITY


def truncated(name: str, builder: Builder, value: Value) -> Value:
    """A value rounded towards 0."""
    parts = []
    for side, sign in (("above", 1.0), ("below", -1.0)):
        turned = negated(f"{name}/{side}/sign", builder, value) if sign < 0 else value
        part = rectified(f"{name}/{side}/part", builder, turned)
        parts.append(staircase(f"{name}/{side}", builder, part, "floor"))
    return subtract(name, builder, parts[0], parts[1])


@examples("Not", "And", "Or", "Xor")
def _logic() -> Iterator[Example]:
    yield Example("Not", ((2, 3),), truths=(0,), output_type=BOOL)
    for op_type in ("And", "Or", "Xor"):
        yield Example(op_type, ((2, 3), (3,)), truths=(0, 1), output_type=BOOL)
        constant = np.array([True, False, True])
        yield Example(op_type, (constant, (2, 3)), truths=(1,), output_type=BOOL)


@examples("Where")
def _where() -> Iterator[Example]:
    yield Example("Where", ((2, 3), (2, 3), (3,)), truths=(0,))
    yield Example("Where", ((2, 1), numbers(3), (2, 3)), truths=(0,))
    yield Example("Where", ((2, 3), numbers(3), scalar(0.5)), truths=(0,))


@examples("Cast")
def _cast() -> Iterator[Example]:
    for to in (BOOL, INT32, INT64):
        yield Example("Cast", ((2, 3),), {"to": to}, output_type=to, low=-4.0, high=4.0)
    yield Example("Cast", ((2, 3),), {"to": INT64}, truths=(0,), output_type=INT64)
    yield Example("Cast", ((2, 3),), {"to": 1}, truths=(0,))
