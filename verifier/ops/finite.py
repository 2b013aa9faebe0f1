"""IsNaN and IsInf: false, of whatever is certainly a number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families import Affine, Product
from verifier.families.curve import INFINITY, Curve
from verifier.families.example import Example
from verifier.families.matrix_product import MatrixProduct
from verifier.families.maximum import Maximum
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.clip import Clip
from verifier.ops.order import ArgGreatest
from verifier.ops.periodic import Wave
from verifier.ops.piecewise import PiecewiseLinear
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.relu import Relu
from verifier.ops.s_shaped import SShaped
from verifier.ops.staircase import Staircase

EVERYWHERE = (
    *(Affine, Product, MatrixProduct, Maximum, Clip, Relu, PiecewiseLinear, Staircase, SShaped),
    *(ArgGreatest, Wave),
)
"""Operators that give a real number for all real numbers."""


def partial(builder: Builder, value: Value) -> str:
    """The first operator on the way to a value that might have no value; empty: there is none."""
    pending, seen = [value.number], {0}
    while pending:
        number = pending.pop()
        if number in seen:
            continue
        seen.add(number)
        node = builder.nodes[number - 1]
        pending.extend(node.inputs)
        if isinstance(node.operator, EVERYWHERE):
            continue
        low, high = _range(builder, node.inputs[0])
        if isinstance(node.operator, Reciprocal) and (low > 0 or high < 0):
            continue
        if isinstance(node.operator, Curve):
            function = node.operator.function
            least, most = function.domain
            if (least < low or (least == low and not function.pole)) and high <= most:
                continue
            if (least, most) == (-INFINITY, INFINITY):
                continue
        return node.name
    return ""


def _range(builder: Builder, number: int) -> tuple[float, float]:
    """What the last operator says of a value's range."""
    operator = builder.nodes[number - 1].operator if number else None
    if isinstance(operator, Clip):
        return operator.low, operator.high
    if isinstance(operator, Relu):
        return 0.0, INFINITY
    return -INFINITY, INFINITY


@reads("IsNaN", "IsInf", folds=True)
def read_is_nan(node: OnnxNode, builder: Builder) -> Operand:
    """Constants: over the real numbers a value is finite, but for what masks hide."""
    operand = node.operand(0)
    infinite = node.op_type == "IsInf"
    ends = [node.flag(f"detect_{end}", 1) for end in ("negative", "positive")]
    if isinstance(operand, np.ndarray):
        found = (np.isneginf(operand) & ends[0]) | (np.isposinf(operand) & ends[1])
        return np.asarray(found.astype(bool) if infinite else np.isnan(operand))
    doubtful = partial(builder, operand)
    if doubtful:
        message = f"a value that {doubtful!r} may leave undefined"
        raise UnsupportedModel(message)
    odd = builder.marks(operand)
    return np.asarray(np.isneginf(odd) & bool(ends[0]) if infinite else np.isnan(odd))


@examples("IsNaN", "IsInf")
def _of_values() -> Iterator[Example]:
    for op_type in ("IsNaN", "IsInf"):
        yield Example(op_type, ((2, 3),), opset=20, output_type=9)
