"""IsNaN and IsInf: false, of whatever is certainly a number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families import Affine, Product
from verifier.families.curve import INFINITY, Curve, Function
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
from verifier.ops.scale import Scale
from verifier.ops.staircase import Staircase
from verifier.tensors import numpy_backend

EVERYWHERE = (
    *(Affine, Product, MatrixProduct, Maximum, Clip, Relu, PiecewiseLinear, Staircase, SShaped),
    *(ArgGreatest, Wave),
)
"""Operators that give a real number for all real numbers."""


MODERATE = -1e3, 1e3
"""Arguments that any network may compute."""


def partial(builder: Builder, value: Value) -> str:
    """The first operator on the way to a value that might have no value, or overflow; or empty."""
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
            inside = (least < low or (least == low and not function.pole)) and high <= most
            real = inside or (least, most) == (-INFINITY, INFINITY)
            if real and not _soars(function, low, high):
                continue
        return node.name
    return ""


def _soars(function: Function, low: float, high: float) -> bool:
    """Might it overflow at arguments between these, as exponentials do at moderate ones?"""
    ends = np.clip([low, high], *MODERATE)
    with np.errstate(all="ignore"):
        values = function.value(numpy_backend("float64"), ends)
    return not (abs(values) <= np.finfo(np.float32).max).all()


def _range(builder: Builder, number: int) -> tuple[float, float]:
    """What the last operator says of a value's range."""
    node = builder.nodes[number - 1] if number else None
    operator = None if node is None else node.operator
    if node is not None and isinstance(operator, Scale) and _turns(operator):
        low, high = _range(builder, node.inputs[0])
        return -high, -low
    if isinstance(operator, Clip):
        return operator.low, operator.high
    if isinstance(operator, Relu):
        return 0.0, INFINITY
    return -INFINITY, INFINITY


def _turns(scale: Scale) -> bool:
    """Does it only change signs?"""
    return scale.bias is None and scale.scale is not None and bool((scale.scale == -1).all())


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
        message = f"a value that {doubtful!r} may leave undefined or infinite"
        raise UnsupportedModel(message)
    odd = builder.marks(operand)
    return np.asarray(np.isneginf(odd) & bool(ends[0]) if infinite else np.isnan(odd))


@examples("IsNaN", "IsInf")
def _of_values() -> Iterator[Example]:
    for op_type in ("IsNaN", "IsInf"):
        yield Example(op_type, ((2, 3),), opset=20, output_type=9)
