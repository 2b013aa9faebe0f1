"""Staircases: Floor, Ceil, Round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from verifier.families.cornered import Corner, Cornered, Straight, zeros_like
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Bool, Float

Rule = Literal["floor", "ceil", "round"]
LEFT = {"floor": -1.0, "ceil": 0.0, "round": -0.5}
"""The value left of a jump at t is t + this, that on its right 1 more."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Staircase(Cornered):
    """y = floor(x), ceil(x), or the nearest whole number, of two the even one.

    It rises by 1 at whole numbers, or halfway between them. Between the first and the last jump in
    a box the one-sided limits lie on two lines of slope 1, so these two jumps and the ends of the
    box are the corners of its envelopes.
    """

    rule: Rule

    @staticmethod
    def of(size: int, rule: Rule) -> Staircase:
        """Over vectors of the given length."""
        return Staircase(sizes=(size,), size=size, rule=rule)

    @property
    def _phase(self) -> float:
        return 0.5 if self.rule == "round" else 0.0

    def _floor(self, x: Array) -> Array:
        return self.xp.function("floor", x)

    @property
    def keeps_integers(self) -> bool:
        return True

    @property
    def stepped(self) -> bool:
        return True

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        x = inputs[0]
        if self.rule == "floor":
            return self._floor(x)
        return -self._floor(-x) if self.rule == "ceil" else self.xp.function("round", x)

    def derivative(self, x: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
        return x * 0

    def interval(self, *boxes: Box) -> Box:
        return Box(self.evaluate(boxes[0].lower), self.evaluate(boxes[0].upper))

    def straight(self, box: Box) -> Straight:
        low, high = self.evaluate(box.lower), self.evaluate(box.upper)
        flat = low == high
        return Straight(flat, zeros_like(low, self.xp), low, flat)

    def corners(self, box: Box) -> Sequence[Corner]:
        xp, phase, left = self.xp, self._phase, LEFT[self.rule]
        lower, upper = box.lower, box.upper
        wide, nothing = upper > lower, xp.zeros(1)
        # The jump at or before the lower end, and the one at or after the upper end.
        before = self._floor(lower - phase) + phase
        after = -self._floor(phase - upper) + phase
        start, end = self.evaluate(lower), self.evaluate(upper)
        rise = xp.where(wide, xp.maximum(start, before + left + 1), start)
        fall = xp.where(wide, xp.minimum(end, after + left), end)
        jumps = [
            Corner(inside, t, t + left, t + left + 1, self._error(t), nothing)
            for t, inside in ((before + 1, before + 1 < upper), (after - 1, after - 1 > lower))
        ]
        known = lower <= upper
        return [
            Corner(known, lower, start, rise, self._error(lower), nothing),
            *jumps,
            Corner(known, upper, fall, end, self._error(upper), nothing),
        ]

    def _error(self, place: Array) -> Array:
        """So far out that halves are no numbers any more a jump may be off by one."""
        xp = self.xp
        far = 4 * xp.unit_roundoff * abs(place) > 1
        return xp.where(far, xp.full((1,), 2.0), xp.zeros(1))

    def unstable(self, which: int, box: Box) -> Bool[Array, "batch n"]:
        return self.evaluate(box.upper) > self.evaluate(box.lower)

    def split_point(self, box: Box) -> Array:
        """The jump nearest to the middle, or the middle where none is inside."""
        middle = box.lower / 2 + box.upper / 2
        jump = self._floor(middle - self._phase + 0.5) + self._phase
        inside = (box.lower < jump) & (jump < box.upper)
        for other in (jump - 1, jump + 1):
            there = (box.lower < other) & (other < box.upper) & ~inside
            jump, inside = self.xp.where(there, other, jump), inside | there
        return self.xp.where(inside, jump, middle)


def staircase(name: str, builder: Builder, operand: Operand, rule: Rule) -> Operand:
    """Whole numbers for an operand."""
    if isinstance(operand, np.ndarray):
        return {"floor": np.floor, "ceil": np.ceil, "round": np.rint}[rule](operand)
    return builder.add(name, Staircase.of(operand.size, rule), [operand])


@reads("Floor", folds=True)
def read_floor(node: OnnxNode, builder: Builder) -> Operand:
    """The greatest whole number that is not above."""
    return staircase(node.name, builder, node.operand(0), "floor")


@reads("Ceil", folds=True)
def read_ceil(node: OnnxNode, builder: Builder) -> Operand:
    """The least whole number that is not below."""
    return staircase(node.name, builder, node.operand(0), "ceil")


@reads("Round", folds=True)
def read_round(node: OnnxNode, builder: Builder) -> Operand:
    """The nearest whole number, of two the even one."""
    return staircase(node.name, builder, node.operand(0), "round")


@examples("Floor", "Ceil", "Round")
def _staircases() -> Iterator[Example]:
    for op_type in ("Floor", "Ceil", "Round"):
        yield Example(op_type, ((2, 3),), low=-9.0, high=9.0)
        yield Example(op_type, ((3,),))
