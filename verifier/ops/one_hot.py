"""OneHot: one number where the index is, another elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError
from verifier.families import Rearrange
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand, axis_of, bounded, expand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.logic import INT64, cast_whole
from verifier.ops.order import ArgGreatest
from verifier.ops.piecewise import PiecewiseLinear
from verifier.ops.scale import Scale
from verifier.ops.steps import step
from verifier.ops.sum import add


@reads("OneHot")
def read_one_hot(node: OnnxNode, builder: Builder) -> Operand:
    """off + (on - off) [i = k] for the places k along a new axis; -1 is the last place."""
    index, depth = node.value(0), node.ints("", 1) or ()
    values = node.weights(2, "values")
    if len(depth) != 1 or depth[0] < 1 or values is None or values.size != 2:
        message = f"depth {depth} and values {values}, need one number and two"
        raise ModelError(message)
    rank = len(index.shape) + 1
    axis = axis_of(node.flag("axis", -1), rank)
    shape = bounded((*index.shape[:axis], depth[0], *index.shape[axis:]))
    whole = cast_whole(f"{node.name}/whole", builder, index, INT64)
    spread = whole.reshape((*index.shape[:axis], 1, *index.shape[axis:]))
    spread = expand(builder, f"{node.name}/spread", spread, shape)
    place = np.arange(depth[0], dtype=np.float64).reshape(-1, *(1,) * (rank - 1 - axis))
    at = np.broadcast_to(place, shape).reshape(-1)
    hot: Operand = step(f"{node.name}/at", builder, spread, (0, 1, 0), at)
    if not _from_0(builder, whole):
        turned = step(f"{node.name}/from_end", builder, spread, (0, 1, 0), at - depth[0])
        hot = add(f"{node.name}/either", builder, hot, turned)
    off, on = (np.full(hot.size, float(x)) for x in values.reshape(-1))
    return builder.add(node.name, Scale.of(hot.size, on - off, off), [hot])


def _from_0(builder: Builder, value: Value) -> bool:
    """Is no element ever negative, for all that its last operator says?"""
    if not value.number:
        return False
    node = builder.nodes[value.number - 1]
    operator = node.operator
    if isinstance(operator, Rearrange) and operator.bias is None:
        return _from_0(builder, Value(node.inputs[0], (operator.sizes[0],)))
    if isinstance(operator, PiecewiseLinear):
        least = min(operator.offsets.min(), operator.values.min(initial=0.0))
        return bool(not operator.bends.any() and least >= 0)
    return isinstance(operator, ArgGreatest)


@examples("OneHot")
def _one_hot() -> Iterator[Example]:
    values = np.array([-0.5, 2.0], dtype=np.float32)
    depth = np.array([3.0], dtype=np.float32)
    yield Example("OneHot", ((2, 2), depth, values), low=-4.0, high=4.0)
    yield Example("OneHot", ((2, 3), depth, values), {"axis": 0}, opset=11)
