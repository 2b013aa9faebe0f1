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


def groups(node: OnnxNode, value: Value) -> tuple[np.ndarray, tuple[int, ...]] | None:
    """Which elements each output takes, [outputs, count], and the outputs' shape.

    None where nothing is reduced.
    """
    axes = node.ints("axes", 1)
    rank = len(value.shape)
    if not axes:
        if node.flag("noop_with_empty_axes", 0):
            return None
        axes = tuple(range(rank))
    reduced = {axis_of(axis, rank) for axis in axes}
    rest = [axis for axis in range(rank) if axis not in reduced]
    count = math.prod(value.shape[axis] for axis in reduced)
    table = np.transpose(value.table(), (*rest, *sorted(reduced))).reshape(-1, count)
    if node.flag("keepdims", 1):
        return table, tuple(1 if axis in reduced else n for axis, n in enumerate(value.shape))
    return table, tuple(value.shape[axis] for axis in rest)


def sums(name: str, builder: Builder, value: Value, table: np.ndarray, weight: float) -> Value:
    """``weight`` times the sum of each row of a table [outputs, count] of elements."""
    operator = GatherSum.of(table, np.full(len(table), weight), value.size)
    return builder.add(name, operator, [value], (len(table),))


def _reduce(node: OnnxNode, builder: Builder, *, mean: bool) -> Value:
    value = node.value(0)
    found = groups(node, value)
    if found is None:
        return value
    table, shape = found
    weight = 1.0 / table.shape[1] if mean else 1.0
    return sums(node.name, builder, value, table, weight).reshape(shape)


@examples("ReduceSum", "ReduceMean")
def _reductions() -> Iterator[Example]:
    yield Example("ReduceSum", ((2, 3, 2), integers(1)))
    yield Example("ReduceSum", ((2, 3, 2), integers(-1, 0)), {"keepdims": 0})
    yield Example("ReduceSum", ((2, 3),), {"axes": [1]}, opset=11)
    yield Example("ReduceSum", ((2, 3),), {"noop_with_empty_axes": 1})
    yield Example("ReduceMean", ((2, 3, 2),), {"axes": [0, -1], "keepdims": 0})
    yield Example("ReduceMean", ((2, 3),))
    yield Example("ReduceMean", ((2, 3), integers(1)), opset=18)
