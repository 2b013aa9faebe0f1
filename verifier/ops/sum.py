"""Sums and differences of values, and values side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families.affine import Affine
from verifier.families.example import Example, numbers, scalar
from verifier.families.onnx_node import OnnxNode, Operand, axis_of, expand, move
from verifier.families.operator import Part
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.scale import Scale
from verifier.records import dataclass
from verifier.tensors import Array, Float, Int


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

    @property
    def keeps_integers(self) -> bool:
        return True

    @property
    def disjoint(self) -> bool:
        return True

    def picks(self, index: Int[Array, " rows"]) -> tuple[tuple[Array, float], ...] | None:
        return tuple((index, float(sign)) for sign in self.signs)

    def given(self, constants: Sequence[np.ndarray | None]) -> Affine | None:
        """A shift of the one input that is left."""
        left = [sign for sign, x in zip(self.signs, constants, strict=True) if x is None]
        if len(left) != 1:
            return None
        parts = [s * x for s, x in zip(self.signs, constants, strict=True) if x is not None]
        scale = None if left[0] > 0 else -np.ones(self.size)
        return Scale.of(self.size, scale, np.sum(parts, axis=0))

    def part(self, index: np.ndarray) -> Part | None:
        return Part(Sum.of(len(index), self.signs), index, (index,) * len(self.signs))

    @property
    def moves(self) -> bool:
        return True


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Affine):
    """y = (x_1, x_2, ...), flat values one after another."""

    @staticmethod
    def of(sizes: tuple[int, ...]) -> Concat:
        """Of inputs with these lengths."""
        return Concat(sizes=sizes, size=sum(sizes), terms=1)

    def layout(self, *inputs: np.ndarray | None) -> np.ndarray | None:
        known = [x for x in inputs if x is not None]
        same = len(known) == len(inputs) and len({x.shape[1] for x in known}) == 1
        return np.concatenate(known) if same else None

    def part(self, index: np.ndarray) -> Part | None:
        starts = np.cumsum([0, *self.sizes])
        cuts = np.searchsorted(index, starts[1:-1])
        inputs = [part - start for part, start in zip(np.split(index, cuts), starts, strict=False)]
        left = Concat.of(tuple(len(x) for x in inputs if len(x)))
        return Part(left, index, tuple(inputs))

    @property
    def moves(self) -> bool:
        return True

    @property
    def is_identity(self) -> bool:
        return len(self.sizes) == 1

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


def select(
    name: str, builder: Builder, operands: Sequence[Operand], choose: Callable[..., np.ndarray]
) -> Operand:
    """Elements of several operands: ``choose`` makes a table of them from one for each operand."""
    sizes = [math.prod(x.shape) for x in operands]
    starts = np.cumsum([0, *sizes[:-1]])
    tables = [
        (start + np.arange(size)).reshape(x.shape)
        for x, start, size in zip(operands, starts, sizes, strict=True)
    ]
    chosen = choose(*tables)
    used = np.zeros(sum(sizes), dtype=bool)
    used[chosen] = True
    parts = []
    for x, table in zip(operands, tables, strict=True):
        part = np.where(used[table], x, np.zeros((), x.dtype)) if isinstance(x, np.ndarray) else x
        parts.append(part.reshape((table.size,)))
    flat = concatenate(f"{name}/all", builder, parts, 0)
    constants = [x for x in parts if isinstance(x, np.ndarray)]
    if isinstance(flat, Value) and not all(np.isfinite(x).all() for x in constants):
        message = "a choice of constants that are NaN or infinite"
        raise UnsupportedModel(message)
    return move(builder, name, flat, lambda table: table[chosen])


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


@reads("Mean")
def read_mean(node: OnnxNode, builder: Builder) -> Operand:
    """The mean of several operands that broadcast against each other."""
    total = read_sum(node, builder)
    weight = np.full(total.size, 1.0 / len(node.inputs))
    return builder.add(f"{node.name}/mean", Scale.of(total.size, weight, None), [total])


@reads("Add", folds=True)
def read_add(node: OnnxNode, builder: Builder) -> Operand:
    """A + b, either of which may hold minus infinity, as masks do."""
    operands = [node.operand(0), node.operand(1)]
    odd = [odd_in(builder, x) for x in operands]
    if all(isinstance(x, np.ndarray) for x in operands) or not any(x.any() for x in odd):
        return add(node.name, builder, *operands)
    left, right = (without(x, marks) for x, marks in zip(operands, odd, strict=True))
    result = add(node.name, builder, left, right)
    builder.mark(result, odd[0] + odd[1])
    return result


def odd_in(builder: Builder, operand: Operand) -> np.ndarray:
    """Where an operand is minus infinity, or no number: these there, else 0."""
    if not isinstance(operand, np.ndarray):
        return builder.marks(operand)
    return (
        np.where(np.isneginf(operand), operand, 0.0)
        if operand.dtype.kind == "f"
        else np.zeros(operand.shape)
    )


def without(operand: Operand, odd: np.ndarray) -> Operand:
    """An operand with 0 for its constants that are odd."""
    if isinstance(operand, np.ndarray):
        return np.where(odd != 0, np.zeros((), operand.dtype), operand)
    return operand


@reads("Sub", folds=True)
def read_sub(node: OnnxNode, builder: Builder) -> Operand:
    """A - b."""
    return subtract(node.name, builder, node.operand(0), node.operand(1))


def subtract(name: str, builder: Builder, left: Operand, right: Operand) -> Operand:
    """``left - right`` with broadcasting."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return np.asarray(left - right)
    if isinstance(right, np.ndarray):
        return add(name, builder, left, np.asarray(-right.astype(np.float64)))
    shape = np.broadcast_shapes(left.shape, right.shape)
    right = expand(builder, f"{name}/right", right, shape)
    if isinstance(left, np.ndarray):
        bias = np.broadcast_to(left, shape).astype(np.float64).reshape(-1)
        return builder.add(name, Scale.of(right.size, -np.ones(right.size), bias), [right])
    left = expand(builder, f"{name}/left", left, shape)
    return builder.add(name, Sum.of(left.size, (1, -1)), [left, right])


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


@examples("Sum", "Mean")
def _sum() -> Iterator[Example]:
    for op_type in ("Sum", "Mean"):
        yield Example(op_type, ((2, 3), numbers(3), (2, 1)))
        yield Example(op_type, ((2, 3),))
        yield Example(op_type, (numbers(2, 3), numbers(1), (2, 3)), opset=8)
