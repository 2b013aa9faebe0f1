"""Linear maps along one axis, and running sums."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand, axis_of, move
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.linear import Linear


def along(name: str, builder: Builder, value: Value, axis: int, matrix: np.ndarray) -> Value:
    """``matrix`` [m, n] in float64, applied to every line along an axis of length n."""
    m, n = matrix.shape
    lines = move(builder, f"{name}/lines", value, lambda table: np.moveaxis(table, axis, -1))
    operator = Linear.of(matrix, positions=value.size // n)
    mapped = builder.add(name, operator, [lines], (*lines.shape[:-1], m))
    return move(builder, f"{name}/back", mapped, lambda table: np.moveaxis(table, -1, axis))


@reads("CumSum")
def read_cum_sum(node: OnnxNode, builder: Builder) -> Operand:
    """Running sums along an axis, perhaps backwards, perhaps without the element itself."""
    value, axis = node.value(0), node.constant(1, "axis")
    if axis is None or axis.size != 1:
        message = "an axis that is not one number"
        raise ModelError(message)
    place = axis_of(int(axis.reshape(-1)[0]), len(value.shape))
    ones = np.ones((value.shape[place],) * 2)
    matrix = np.tril(ones, -1 if node.flag("exclusive", 0) else 0)
    if node.flag("reverse", 0):
        matrix = matrix.T
    return along(node.name, builder, value, place, matrix)


@examples("CumSum")
def _cum_sum() -> Iterator[Example]:
    yield Example("CumSum", ((2, 3), np.array(1)))
    yield Example("CumSum", ((3, 2, 2), np.array(-3)), {"exclusive": 1})
    yield Example("CumSum", ((4,), np.array(0)), {"reverse": 1})
    yield Example("CumSum", ((2, 3), np.array(-1)), {"reverse": 1, "exclusive": 1}, opset=14)
