"""Reductions that are compositions: ReduceL1, L2, SumSquare, Prod, LogSum, LogSumExp."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families.bilinear import Product
from verifier.families.example import Example, integers
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.curves import LOG, SOFTPLUS, SQRT, curve, square
from verifier.ops.kinked import absolute
from verifier.ops.logic import rectified
from verifier.ops.reduce import groups, sums
from verifier.ops.sum import add, concatenate, subtract

LONGEST_PRODUCT = 64
"""Of longer products the bounds say nothing worth the work."""
Part = Callable[[str, Builder, Value], Value]


def _plain(name: str, builder: Builder, value: Value) -> Value:
    return value


def root(name: str, builder: Builder, value: Value) -> Value:
    # Rounding of the sum must not make it negative.
    return curve(name, builder, rectified(f"{name}/positive", builder, value), SQRT)


def _log(name: str, builder: Builder, value: Value) -> Value:
    return curve(name, builder, value, LOG)


PARTS: dict[str, tuple[Part, Part]] = {
    "ReduceL1": (absolute, _plain),
    "ReduceL2": (square, root),
    "ReduceSumSquare": (square, _plain),
    "ReduceLogSum": (_plain, _log),
}
"""What is summed, and what becomes of the sum."""


@reads(*PARTS)
def read_norm(node: OnnxNode, builder: Builder) -> Operand:
    """A function of the sum of a function along some axes, or all."""
    value, (inner, outer) = node.value(0), PARTS[node.op_type]
    found = groups(node, value)
    table, shape = (value.table().reshape(-1, 1), value.shape) if found is None else found
    terms = inner(f"{node.name}/terms", builder, value)
    total = sums(f"{node.name}/sum", builder, terms, table, 1.0)
    return outer(node.name, builder, total).reshape(shape)


@reads("ReduceLogSumExp")
def read_log_sum_exp(node: OnnxNode, builder: Builder) -> Operand:
    """Log sum exp along some axes, or all."""
    value, found = node.value(0), groups(node, node.value(0))
    if found is None:
        return value
    table, shape = found
    return log_sum_exp(node.name, builder, value, table).reshape(shape)


def log_sum_exp(name: str, builder: Builder, value: Value, table: np.ndarray) -> Value:
    """Log sum exp of each row of a table [outputs, count] of elements, by halves.

    log(exp(a) + exp(b)) = a + softplus(b - a), in which nothing overflows.
    """

    def pair(part: str, left: Value, right: Value) -> Value:
        rise = subtract(f"{part}/difference", builder, right, left)
        return add(part, builder, left, curve(f"{part}/softplus", builder, rise, SOFTPLUS))

    return _by_halves(name, builder, value, table, pair)


@reads("ReduceProd")
def read_reduce_prod(node: OnnxNode, builder: Builder) -> Operand:
    """The product along some axes, by halves."""
    value, found = node.value(0), groups(node, node.value(0))
    if found is None:
        return value
    table, shape = found
    if table.shape[1] > LONGEST_PRODUCT:
        message = f"products of {table.shape[1]} values, need at most {LONGEST_PRODUCT}"
        raise UnsupportedModel(message)

    def pair(part: str, left: Value, right: Value) -> Value:
        return builder.add(part, Product.of(left.size), [left, right])

    return _by_halves(node.name, builder, value, table, pair).reshape(shape)


def _by_halves(
    name: str,
    builder: Builder,
    value: Value,
    table: np.ndarray,
    pair: Callable[[str, Value, Value], Value],
) -> Value:
    """Each row of a table of elements made one by a function of two, in rounds."""
    level = 0
    while table.shape[1] > 1:
        half = table.shape[1] // 2
        part = f"{name}/{level}"
        left = builder.rearrange(f"{part}/left", value, table[:, :half])
        right = builder.rearrange(f"{part}/right", value, table[:, half : 2 * half])
        pairs = pair(part, left, right)
        if table.shape[1] % 2:
            rest = builder.rearrange(f"{part}/rest", value, table[:, -1:])
            pairs = concatenate(f"{part}/all", builder, [pairs, rest], 1)
        value, level = pairs, level + 1
        table = value.table()
    return builder.rearrange(name, value, table)


@examples(*PARTS)
def _norms() -> Iterator[Example]:
    for op_type in ("ReduceL1", "ReduceL2", "ReduceSumSquare"):
        yield Example(op_type, ((2, 3, 2),), {"axes": [1], "keepdims": 0})
        yield Example(op_type, ((2, 3), integers(-1)), opset=18)
        yield Example(op_type, ((2, 3),))
    yield Example("ReduceLogSum", ((2, 3),), {"axes": [1]}, low=0.25, high=3.0)


@examples("ReduceLogSumExp")
def _log_sum_exp() -> Iterator[Example]:
    yield Example("ReduceLogSumExp", ((2, 3),), {"axes": [1], "keepdims": 0})
    yield Example("ReduceLogSumExp", ((2, 2),))


@examples("ReduceProd")
def _products() -> Iterator[Example]:
    yield Example("ReduceProd", ((2, 3),), {"axes": [1]})
    yield Example("ReduceProd", ((5, 2), integers(0)), {"keepdims": 0}, opset=18)
    yield Example("ReduceProd", ((1, 2),), {"axes": [0]})
