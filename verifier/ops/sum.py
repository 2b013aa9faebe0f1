"""Sums and differences of values, and values side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from verifier.families.affine import Affine
from verifier.families.example import Example, numbers, scalar
from verifier.families.onnx_node import OnnxNode, Operand, axis_of, expand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.scale import Scale
from verifier.tensors import Array, Float


@dataclass(frozen=True, eq=False, kw_only=True)
class Sum(Affine):
    """y = sum_i sign_i x_i, over values of one length."""

    signs: tuple[int, ...]

    @staticmethod
    def of(size: int, signs: tuple[int, ...]) -> Sum:
        """Signs are +1 or -1, one for each input."""
        return Sum(sizes=(size,) * len(signs), size=size, terms=len(signs) + 1, signs=signs)

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        total = inputs[0] if self.signs[0] > 0 else -inputs[0]
        for sign, x in zip(self.signs[1:], inputs[1:], strict=True):
            total = total + x if sign > 0 else total - x
        return total

    def adjoint(self, rows: Float[Array, "rows m"]) -> tuple[Float[Array, "rows n"], ...]:
        return tuple(rows if sign > 0 else -rows for sign in self.signs)

    def absolute(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        total = inputs[0]
        for x in inputs[1:]:
            total = total + x
        return total


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Affine):
    """y = (x_1, x_2, ...), flat values one after another."""

    @staticmethod
    def of(sizes: tuple[int, ...]) -> Concat:
        """Of inputs with these lengths."""
        return Concat(sizes=sizes, size=sum(sizes), terms=1)

    def evaluate(self, *inputs: Float[Array, "batch _"]) -> Float[Array, "batch m"]:
        return self.xp.cat(inputs, 1)

    def adjoint(self, rows: Float[Array, "rows m"]) -> tuple[Float[Array, "rows _"], ...]:
        parts, start = [], 0
        for size in self.sizes:
            parts.append(rows[:, start : start + size])
            start += size
        return tuple(parts)

    def absolute(self, *inputs: Float[Array, "batch _"]) -> Float[Array, "batch m"]:
        return self.xp.cat(inputs, 1)


def concatenate(name: str, builder: Builder, operands: Sequence[Operand], axis: int) -> Operand:
    """Values and constants joined along an axis (not negative)."""
    if all(isinstance(x, np.ndarray) for x in operands):
        return np.concatenate(operands, axis=axis)
    distinct = dict.fromkeys(x.number for x in operands if isinstance(x, Value))
    start, starts, parts = 0, {}, []
    for number in distinct:
        part = next(x for x in operands if isinstance(x, Value) and x.number == number)
        starts[number] = start
        start += part.size
        parts.append(part)
    tables, fills = [], []
    for x in operands:
        if isinstance(x, Value):
            tables.append(x.table() + starts[x.number])
            fills.append(np.zeros(x.shape))
        else:
            tables.append(np.full(x.shape, -1))
            fills.append(x.astype(np.float64))
    joined = parts[0]
    if len(parts) > 1:
        joined = builder.add(name, Concat.of(tuple(p.size for p in parts)), parts, (start,))
    index = np.concatenate(tables, axis=axis)
    return builder.rearrange(f"{name}/order", joined, index, np.concatenate(fills, axis=axis))


@reads("Concat", folds=True)
def read_concat(node: OnnxNode, builder: Builder) -> Operand:
    """Arrays side by side along ``axis``."""
    operands = [node.operand(i) for i in range(len(node.inputs))]
    axis = axis_of(node.flag("axis", 0), len(operands[0].shape))
    return concatenate(node.name, builder, operands, axis)


@reads("Sum")
def read_sum(node: OnnxNode, builder: Builder) -> Operand:
    """The sum of several operands that broadcast against each other."""
    total = node.operand(0)
    for i in range(1, len(node.inputs)):
        total = add(f"{node.name}/{i}", builder, total, node.operand(i))
    return total


@reads("Add", folds=True)
def read_add(node: OnnxNode, builder: Builder) -> Operand:
    """A + b."""
    return add(node.name, builder, node.operand(0), node.operand(1))


@reads("Sub", folds=True)
def read_sub(node: OnnxNode, builder: Builder) -> Operand:
    """A - b."""
    left, right = node.operand(0), node.operand(1)
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return np.asarray(left - right)
    if isinstance(right, np.ndarray):
        return add(node.name, builder, left, np.asarray(-right.astype(np.float64)))
    shape = np.broadcast_shapes(left.shape, right.shape)
    right = expand(builder, f"{node.name}/right", right, shape)
    if isinstance(left, np.ndarray):
        bias = np.broadcast_to(left, shape).astype(np.float64).reshape(-1)
        return builder.add(node.name, Scale.of(right.size, -np.ones(right.size), bias), [right])
    left = expand(builder, f"{node.name}/left", left, shape)
    return builder.add(node.name, Sum.of(left.size, (1, -1)), [left, right])


def add(name: str, builder: Builder, left: Operand, right: Operand) -> Operand:
    """``left + right`` with broadcasting."""
    if isinstance(left, np.ndarray):
        left, right = right, left
    if isinstance(left, np.ndarray):
        return np.asarray(right + left)
    shape = np.broadcast_shapes(left.shape, right.shape)
    left = expand(builder, f"{name}/left", left, shape)
    right = expand(builder, f"{name}/right", right, shape)
    if isinstance(right, np.ndarray):
        bias = right.astype(np.float64).reshape(-1)
        return builder.add(name, Scale.of(left.size, None, bias), [left])
    return builder.add(name, Sum.of(left.size, (1, 1)), [left, right])


@examples("Concat")
def _concat() -> Iterator[Example]:
    yield Example("Concat", ((1, 3), (1, 2)), {"axis": 1})
    yield Example("Concat", ((2, 3), (2, 1), numbers(2, 2)), {"axis": -1})
    yield Example("Concat", (numbers(1, 3), (2, 3)), {"axis": 0}, opset=11)
    yield Example("Concat", ((2, 2),), {"axis": 1})


@examples("Add", "Sub")
def _sums() -> Iterator[Example]:
    for op_type in ("Add", "Sub"):
        yield Example(op_type, ((2, 3), numbers(3)))
        yield Example(op_type, (numbers(2, 1), (1, 3)), opset=8)
        yield Example(op_type, ((2, 3), (2, 3)))
        yield Example(op_type, ((2, 1), (1, 3)))
        yield Example(op_type, ((3,), (2, 3)))
        yield Example(op_type, (scalar(0.75), (2,)))


@examples("Sum")
def _sum() -> Iterator[Example]:
    yield Example("Sum", ((2, 3), numbers(3), (2, 1)))
    yield Example("Sum", ((2, 3),))
