"""Clip with constant bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from verifier.families.elementwise import Elementwise
from verifier.families.example import Example, scalar
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.families.relaxation import Planes
from verifier.graph import Builder
from verifier.ops.relu import Relu
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Bool, Float


@dataclass(frozen=True, eq=False, kw_only=True)
class Clip(Elementwise):
    """y = min(max(x, low), high), with finite or infinite low <= high."""

    low: float
    high: float

    @staticmethod
    def of(size: int, low: float, high: float) -> Clip:
        """Over vectors of the given length."""
        return Clip(sizes=(size,), size=size, low=low, high=high)

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return inputs[0].clip(min=self.low, max=self.high)

    @property
    def _rounded(self) -> bool:
        """Does the working precision round a bound, as one of a float64 model?"""
        bounds = (self.low, self.high)
        return self.xp.dtype == "float32" and any(float(np.float32(c)) != c for c in bounds)

    def derivative(self, x: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
        return self.xp.floats((x > self.low) & (x < self.high))

    def interval(self, *boxes: Box) -> Box:
        (box,) = boxes
        lower, upper = self.evaluate(box.lower), self.evaluate(box.upper)
        widen = 2 * self.xp.unit_roundoff if self._rounded else 0.0
        return Box(lower - widen * abs(lower), upper + widen * abs(upper))

    def unstable(self, which: int, box: Box) -> Bool[Array, "batch n"]:
        crosses_low = (box.lower < self.low) & (box.upper > self.low)
        crosses_high = (box.lower < self.high) & (box.upper > self.high)
        return crosses_low | crosses_high

    def split_point(self, box: Box) -> Array:
        xp = self.xp
        crosses_low = (box.lower < self.low) & (box.upper > self.low)
        low, high = xp.full((1,), self.low), xp.full((1,), self.high)
        return xp.where(crosses_low, low, high) + box.lower * 0

    def slopes(self, box: Box) -> tuple[Array, Array]:
        """The function is convex up to ``high`` and concave from ``low`` on.

        Below: the chord to the upper end from where the function leaves ``low``, or the better of
        flat and steep where it is convex; above: the mirror image.
        """
        xp = self.xp
        lower, upper = box.lower, box.upper
        one, zero = xp.full((1,), 1.0), xp.zeros(1)
        wide = upper > lower
        chord = (self.evaluate(upper) - self.evaluate(lower)) / xp.where(wide, upper - lower, one)
        inside = (lower >= self.low) & (upper <= self.high)
        chord = xp.where(wide, chord, zero)
        # Convex part (upper <= high): the lower line turns about (low, low): flat or steep.
        turn_below = xp.where(upper - self.low > self.low - lower, one, zero)
        turn_above = xp.where(self.high - lower > upper - self.high, one, zero)
        # A line from one corner to the far end; it is needed only where both corners are finite.
        over = xp.where(upper > self.low, upper - self.low, one)
        under = xp.where(self.high > lower, self.high - lower, one)
        height = self.high - self.low if self.high - self.low < float("inf") else 0.0
        rise_below = xp.where(turn_below > 0, height / over, zero)
        rise_above = xp.where(turn_above > 0, height / under, zero)
        below = xp.where(
            upper <= self.high, turn_below, xp.where(lower >= self.low, chord, rise_below)
        )
        above = xp.where(
            lower >= self.low, turn_above, xp.where(upper <= self.high, chord, rise_above)
        )
        flat = (upper <= self.low) | (lower >= self.high)
        below = xp.where(inside, one, xp.where(flat, zero, below))
        above = xp.where(inside, one, xp.where(flat, zero, above))
        return below, above

    def relax(self, *boxes: Box) -> Planes:
        """As for any elementwise operator, but exact where the function is linear on the box."""
        (box,) = boxes
        xp, zero = self.xp, self.xp.zeros(1)
        planes = super().relax(box)
        if self._rounded:
            return planes
        inside = (box.lower >= self.low) & (box.upper <= self.high)
        below, above = (box.upper <= self.low) & ~inside, (box.lower >= self.high) & ~inside
        lower, upper, noise = planes.lower_offset, planes.upper_offset, planes.noise
        exact = [(inside, 0.0), (below, self.low), (above, self.high)]
        for mask, constant in exact:
            if abs(constant) < float("inf"):
                lower = xp.where(mask, zero + constant, lower)
                upper = xp.where(mask, zero + constant, upper)
                noise = xp.where(mask, zero + self.rounding * abs(constant) * 2, noise)
        return replace(planes, lower_offset=lower, upper_offset=upper, noise=noise)

    def gap(self, slope: Array, box: Box) -> tuple[Array, Array]:
        xp = self.xp
        at_lower = self.evaluate(box.lower) - slope * box.lower
        at_upper = self.evaluate(box.upper) - slope * box.upper
        least, greatest = xp.minimum(at_lower, at_upper), xp.maximum(at_lower, at_upper)
        for corner in (self.low, self.high):
            if abs(corner) < float("inf"):
                inside = (box.lower < corner) & (corner < box.upper)
                value = corner - slope * corner
                least = xp.where(inside, xp.minimum(least, value), least)
                greatest = xp.where(inside, xp.maximum(greatest, value), greatest)
        error = (1 + abs(slope)) * box.magnitude(xp) + abs(at_lower)
        for corner in (self.low, self.high):
            inside = (box.lower <= corner) & (corner <= box.upper)
            if abs(corner) < float("inf"):
                error = xp.where(inside, error + abs(corner) * (1 + abs(slope)), error)
        error = 8 * xp.unit_roundoff * error + 8 * xp.least_normal
        return least - error, greatest + error


@reads("Clip")
def read_clip(node: OnnxNode, builder: Builder) -> Operand:
    """min(max(x, low), high)."""
    value = node.value(0)
    low = _bound(node, "min", 1, -float("inf"))
    high = _bound(node, "max", 2, float("inf"))
    if low > high:
        return np.full(value.shape, high, dtype=np.float32)
    if low == 0.0 and high == float("inf"):
        return builder.add(node.name, Relu.of(value.size), [value])
    if low == -high == -float("inf"):
        return value
    return builder.add(node.name, Clip.of(value.size, low, high), [value])


def _bound(node: OnnxNode, name: str, place: int, absent: float) -> float:
    given = node.weights(place, name)
    if given is not None and given.size:
        bound = float(given.reshape(-1)[0])
    else:
        bound = node.number(name, absent)
    return bound


@examples("Clip")
def _examples() -> Iterator[Example]:
    low, high = scalar(-0.6), scalar(1.1)
    yield Example("Clip", ((2, 3),), {"min": -0.5, "max": 0.75}, opset=8)
    yield Example("Clip", ((2, 3),), {"min": 0.25}, opset=8)
    yield Example("Clip", ((2, 3), low, high))
    yield Example("Clip", ((5,), low))
    yield Example("Clip", ((5,), None, high))
    yield Example("Clip", ((5,), high, low))
    yield Example("Clip", ((5,), scalar(0.0)))
    yield Example("Clip", ((5,), scalar(0.0), scalar(6.0)), high=9.0)
