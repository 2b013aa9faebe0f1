"""Sums and means along axes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.families.example import Example, integers
from verifier.families.onnx_node import OnnxNode, Operand, axis_of
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.gather_sum import GatherSum


@reads("ReduceSum")
def read_reduce_sum(node: OnnxNode, builder: Builder) -> Operand:
    """The sum along some axes, or all."""
    return _reduce(node, builder, mean=False)


@reads("ReduceMean")
def read_reduce_mean(node: OnnxNode, builder: Builder) -> Operand:
    """The mean along some axes, or all."""
    return _reduce(node, builder, mean=True)


def _reduce(node: OnnxNode, builder: Builder, *, mean: bool) -> Value:
    value, axes = node.value(0), node.ints("axes", 1)
    rank = len(value.shape)
    if not axes:
        if node.flag("noop_with_empty_axes", 0):
            return value
        axes = tuple(range(rank))
    reduced = {axis_of(axis, rank) for axis in axes}
    rest = [axis for axis in range(rank) if axis not in reduced]
    count = math.prod(value.shape[axis] for axis in reduced)
    table = np.transpose(value.table(), (*rest, *sorted(reduced))).reshape(-1, count)
    if node.flag("keepdims", 1):
        shape = tuple(1 if axis in reduced else n for axis, n in enumerate(value.shape))
    else:
        shape = tuple(value.shape[axis] for axis in rest)
    weight = np.full(len(table), 1.0 / count if mean else 1.0)
    return builder.add(node.name, GatherSum.of(table, weight, value.size), [value], shape)


@examples("ReduceSum", "ReduceMean")
def _reductions() -> Iterator[Example]:
    yield Example("ReduceSum", ((2, 3, 2), integers(1)))
    yield Example("ReduceSum", ((2, 3, 2), integers(-1, 0)), {"keepdims": 0})
    yield Example("ReduceSum", ((2, 3),), {"axes": [1]}, opset=11)
    yield Example("ReduceSum", ((2, 3),), {"noop_with_empty_axes": 1})
    yield Example("ReduceMean", ((2, 3, 2),), {"axes": [0, -1], "keepdims": 0})
    yield Example("ReduceMean", ((2, 3),))
    yield Example("ReduceMean", ((2, 3), integers(1)), opset=18)
