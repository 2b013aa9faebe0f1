"""Where the greatest or the least value is: ArgMax, ArgMin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from verifier.families import Nonlinear
from verifier.families.band import Level
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand, axis_of
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.logic import scaled
from verifier.ops.steps import step
from verifier.ops.sum import subtract
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Bool, Float

AXES_OPSET = 13
"""Before this opset a hardmax runs over all axes from ``axis`` on."""
INT64 = 7
"""ONNX's number of the type of indices."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ArgGreatest(Nonlinear):
    """y_j = origin + turn argmax_k x[index_jk], the first where several are equal.

    Over a box it is one of the members whose upper bound reaches the greatest lower bound: a
    constant where that is one only. Elsewhere nothing but the range of their places is known.
    """

    whole: ClassVar[bool] = True

    index: Array
    """[m, k]"""
    origin: float
    turn: float

    @staticmethod
    def of(index: np.ndarray, size_in: int, *, last: bool) -> ArgGreatest:
        """From an index table [m, k]; ``last``: of equal members the last one counts."""
        count = index.shape[1]
        return ArgGreatest(
            sizes=(size_in,),
            size=len(index),
            index=np.ascontiguousarray(index[:, ::-1] if last else index),
            origin=count - 1.0 if last else 0.0,
            turn=-1.0 if last else 1.0,
        )

    @property
    def stepped(self) -> bool:
        return True

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return self.origin + self.turn * self.xp.floats(inputs[0][:, self.index].argmax(-1))

    def gradient(
        self, rows: Float[Array, "batch m"], *inputs: Float[Array, "batch n"]
    ) -> tuple[Float[Array, "batch n"], ...]:
        return (inputs[0] * 0,)

    def _contested(self, box: Box) -> tuple[Bool[Array, "batch m k"], Array]:
        """Which members may be the greatest; NaN where a bound is none, else 0."""
        xp = self.xp
        lower, upper = box.lower[:, self.index], box.upper[:, self.index]
        nan = xp.function("isnan", lower) | xp.function("isnan", upper)
        unknown = xp.where(nan.any(-1), xp.full((1,), float("nan")), xp.zeros(1))
        return upper >= xp.amax(lower, -1)[:, :, None], unknown

    def interval(self, *boxes: Box) -> Box:
        xp = self.xp
        candidate, unknown = self._contested(boxes[0])
        count = self.index.shape[1]
        place = xp.floats(xp.arange(count))
        first = xp.amin(xp.where(candidate, place, xp.full((1,), float(count))), -1)
        final = xp.amax(xp.where(candidate, place, xp.full((1,), -1.0)), -1)
        ends = [self.origin + self.turn * x + unknown for x in (first, final)]
        return Box(xp.minimum(*ends), xp.maximum(*ends))

    def relax(self, *boxes: Box) -> Level:
        xp, image = self.xp, self.interval(*boxes)
        middle, radius = image.center, image.radius
        # Halves of whole numbers are exact; rows round as they are multiplied and added up.
        rounding = 4 * (min(self.size, xp.dot_terms) + 16) * xp.unit_roundoff
        noise = rounding * (abs(middle) + radius) + 16 * xp.least_normal
        nothing = xp.doubles(xp.zeros(middle.shape[0]))
        return Level(xp, 1, middle, radius, noise, nothing, self.sizes)

    def unstable(self, which: int, box: Box) -> Bool[Array, "batch n"]:
        return self._spread(box, self.xp.full((1, 1), 1.0)) > 0

    def sensitivity(
        self, positive: Float[Array, "batch m"], negative: Float[Array, "batch m"], *boxes: Box
    ) -> tuple[Float[Array, "batch n"], ...]:
        return (self._spread(boxes[0], positive + negative),)

    def _spread(self, box: Box, weight: Array) -> Array:
        """The weight of each output at its members, where several contend."""
        xp, batch = self.xp, box.lower.shape[0]
        candidate, _ = self._contested(box)
        several = candidate & (xp.floats(candidate).sum(-1) > 1)[:, :, None]
        flat = (xp.floats(several) * weight[:, :, None]).reshape(batch, math.prod(self.index.shape))
        index = self.index.reshape(1, -1) + xp.ints(xp.zeros(batch, 1))
        return xp.scatter_rows(flat, index, self.sizes[0])


@reads("ArgMax", "ArgMin")
def read_arg_extreme(node: OnnxNode, builder: Builder) -> Operand:
    """The place of the greatest or the least along an axis; of two it is one comparison."""
    value = node.value(0)
    axis = axis_of(node.flag("axis", 0), len(value.shape))
    last = bool(node.flag("select_last_index", 0))
    count = value.shape[axis]
    table = np.moveaxis(value.table(), axis, -1).reshape(-1, count)
    shape = [n for i, n in enumerate(value.shape) if i != axis]
    if node.flag("keepdims", 1):
        shape.insert(axis, 1)
    value, table = builder.as_ordered(value, table)
    if node.op_type == "ArgMin":
        value = scaled(f"{node.name}/turned", builder, value, -1.0)
    if count == 2:
        first, second = (
            builder.rearrange(f"{node.name}/{i}", value, table[:, i]) for i in range(2)
        )
        rise = subtract(f"{node.name}/difference", builder, second, first)
        at_tie = int(last)
        return step(node.name, builder, rise, (0, at_tie, 1), np.zeros(1)).reshape(shape)
    operator = ArgGreatest.of(table, value.size, last=last)
    return builder.add(node.name, operator, [value], shape)


@reads("Hardmax")
def read_hardmax(node: OnnxNode, builder: Builder) -> Operand:
    """1 where the first of the greatest is, else 0; before opset 13 over all axes from one on."""
    value = node.value(0)
    rank, early = len(value.shape), node.opset < AXES_OPSET
    axis = axis_of(node.flag("axis", 1 if early else -1), rank)
    table = value.table()
    if early:
        table = table.reshape(math.prod(value.shape[:axis]), -1)
    else:
        table = np.moveaxis(table, axis, -1)
    count = table.shape[-1]
    rows = table.reshape(-1, count)
    place = builder.add(
        f"{node.name}/place", ArgGreatest.of(rows, value.size, last=False), [value], (len(rows),)
    )
    spread = builder.rearrange(f"{node.name}/spread", place, np.repeat(place.table(), count))
    at = np.tile(np.arange(count, dtype=np.float64), len(rows))
    hot = step(f"{node.name}/hot", builder, spread, (0, 1, 0), at)
    back = np.empty(value.size, dtype=np.int64)
    back[rows.reshape(-1)] = np.arange(value.size)
    return builder.rearrange(node.name, hot, back.reshape(value.shape))


@examples("Hardmax")
def _hardmax() -> Iterator[Example]:
    yield Example("Hardmax", ((2, 3),))
    yield Example("Hardmax", ((2, 3, 2),), {"axis": 1})
    yield Example("Hardmax", ((2, 2, 2),), opset=11)


@examples("ArgMax", "ArgMin")
def _arg_extremes() -> Iterator[Example]:
    for op_type in ("ArgMax", "ArgMin"):
        yield Example(op_type, ((2, 3),), {"axis": 1}, output_type=INT64)
        attributes = {"axis": -2, "keepdims": 0, "select_last_index": 1}
        yield Example(op_type, ((2, 4, 2),), attributes, output_type=INT64)
        yield Example(op_type, ((2, 3),), output_type=INT64)
