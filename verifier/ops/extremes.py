"""Greatest and least values: Max, Min, ReduceMax, ReduceMin."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families import Maximum
from verifier.families.example import Example, integers, numbers, scalar
from verifier.families.onnx_node import OnnxNode, Operand, expand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.logic import rectified, scaled
from verifier.ops.piecewise import PiecewiseLinear
from verifier.ops.reduce import groups
from verifier.ops.sum import add, concatenate, subtract


@reads("Max", "Min", folds=True)
def read_extreme(node: OnnxNode, builder: Builder) -> Operand:
    """The greatest or the least of several operands that broadcast against each other."""
    operands = [node.operand(i) for i in range(len(node.inputs))]
    values = [x for x in operands if isinstance(x, Value)]
    constants = [x for x in operands if isinstance(x, np.ndarray)]
    pick = np.maximum if node.op_type == "Max" else np.minimum
    if not values:
        return np.asarray(functools.reduce(pick, constants))
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    spread = [expand(builder, f"{node.name}/{i}", x, shape) for i, x in enumerate(values)]
    result = extreme(node.name, builder, spread, greatest=node.op_type == "Max")
    if not constants:
        return result
    level = np.asarray(functools.reduce(pick, constants))
    flat = np.broadcast_to(level.astype(np.float64), shape).reshape(-1)
    return clamped(f"{node.name}/constant", builder, result, flat, below=node.op_type == "Max")


def clamped(name: str, builder: Builder, value: Value, level: np.ndarray, *, below: bool) -> Value:
    """max(x, level) if ``below``, else min(x, level), for a vector of levels."""
    # An infinite level that x cannot pass leaves x as it is.
    free = np.isinf(level) & ((level < 0) == below)
    if free.all():
        return value
    if below and not level.any():
        return rectified(name, builder, value)
    if not np.isfinite(level[~free]).all():
        message = "an infinite bound that nothing can keep"
        raise UnsupportedModel(message)
    level, flat = np.where(free, 0.0, level), np.where(free, 1.0, 0.0)
    if (level == level[0]).all() and not free.any():
        level, flat = level[:1], flat[:1]
    pieces = [(flat, level), (1, 0)] if below else [(1, 0), (flat, level)]
    bends, offsets = zip(*pieces, strict=True)
    operator = PiecewiseLinear.of(value.size, [level], bends, offsets, [level])
    return builder.add(name, operator, [value])


def extreme(name: str, builder: Builder, values: list[Value], *, greatest: bool) -> Value:
    """The greatest or least of values of one shape.

    Of two it is x + max(y - x, 0): bounds of the difference keep what x and y have in common.
    """
    if len(values) == 1:
        return values[0]
    if len(values) == 2:
        x, y = values
        sides = (y, x) if greatest else (x, y)
        excess = rectified(
            f"{name}/excess", builder, subtract(f"{name}/difference", builder, *sides)
        )
        return (add if greatest else subtract)(name, builder, x, excess)
    shape, size = values[0].shape, values[0].size
    joined = concatenate(f"{name}/joined", builder, [v.reshape((1, size)) for v in values], 0)
    table = np.arange(joined.size).reshape(len(values), size).T
    return maximum(name, builder, joined, table, greatest=greatest).reshape(shape)


def maximum(
    name: str, builder: Builder, value: Value, table: np.ndarray, *, greatest: bool
) -> Value:
    """The greatest, or the least, of each row of a table [outputs, count] of elements."""
    if not greatest:
        turned = scaled(f"{name}/turned", builder, value, -1.0)
        greatest_one = maximum(f"{name}/max", builder, turned, table, greatest=True)
        return scaled(name, builder, greatest_one, -1.0)
    if table.shape[1] == 2:
        parts = [builder.rearrange(f"{name}/{i}", value, table[:, i]) for i in range(2)]
        return extreme(name, builder, parts, greatest=True)
    return builder.add(name, Maximum.of(table, value.size), [value], (len(table),))


@reads("ReduceMax", "ReduceMin")
def read_reduce_extreme(node: OnnxNode, builder: Builder) -> Operand:
    """The greatest or the least along some axes, or all."""
    value = node.value(0)
    found = groups(node, value)
    if found is None:
        return value
    table, shape = found
    greatest = node.op_type == "ReduceMax"
    return maximum(node.name, builder, value, table, greatest=greatest).reshape(shape)


@examples("Max", "Min")
def _extremes() -> Iterator[Example]:
    for op_type in ("Max", "Min"):
        yield Example(op_type, ((2, 3), (2, 3)))
        yield Example(op_type, ((2, 3), (3,), (2, 1)))
        yield Example(op_type, ((2, 3), numbers(3)))
        yield Example(op_type, (scalar(0.0), (2, 3), scalar(0.25)))
        yield Example(op_type, (scalar(0.0), (2, 1), (3,)), opset=8)
        yield Example(op_type, ((2, 3),))
        free = np.array([0.5, -np.inf if op_type == "Max" else np.inf], dtype=np.float32)
        yield Example(op_type, ((2,), free))


@examples("ReduceMax", "ReduceMin")
def _reductions() -> Iterator[Example]:
    for op_type in ("ReduceMax", "ReduceMin"):
        yield Example(op_type, ((2, 3, 2),), {"axes": [1], "keepdims": 0})
        yield Example(op_type, ((2, 3),), {"axes": [0]}, opset=11)
        yield Example(op_type, ((2, 3), integers(-1)), opset=18)
        yield Example(op_type, ((2, 2),))
