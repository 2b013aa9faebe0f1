"""Sigmoid and Tanh."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from verifier.families.elementwise import Elementwise, times_finite
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.families.relaxation import Planes, Relaxation
from verifier.families.tangents import Arc, Tangents, Touching
from verifier.graph import Builder
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Float

TANGENT_STEPS = 12
"""Bisections for a tangent point: they aim the slope only; any slope is sound."""
SHORT = 2.0**-20
"""By how much of an arc its end stays away from the last point where tangents may touch."""
REACH_STEPS = 24
"""The same where the point bounds those that rows may choose."""

MOST_ERROR = 2.0**-10
"""Where rounding may cost a tangent more, there are none to choose from."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SShaped(Elementwise, Touching):
    """A bounded increasing function, convex below 0 and concave above, with phi' even.

    Where the box lies on one side of 0 the lines are the chord and the tangent at the middle; where
    it crosses 0, a line starts at one end and touches the curve on the other side, or is the chord
    if it cannot touch inside the box (Singh et al. 2019, section 4.3; Zhang et al. 2018, section
    3.3). Of the tangents that pass the end on the sound side, the one at the middle is the best,
    since the mean of a line over the box is its value there.
    """

    reach: ClassVar[float]
    """Further out the curve is flat, to float64."""

    @abstractmethod
    def touch(self, slope: Array) -> Array:
        """x >= 0 with phi'(x) = slope, for slopes in (0, phi'(0)]; anything else: any number."""

    @property
    def value_error(self) -> float:
        """Absolute error of computed values of phi (|phi| <= 1)."""
        return 16 * self.xp.unit_roundoff

    def interval(self, *boxes: Box) -> Box:
        (box,) = boxes
        return Box(
            self.evaluate(box.lower) - self.value_error, self.evaluate(box.upper) + self.value_error
        )

    def split_point(self, box: Box) -> Array:
        middle = box.center
        return self.xp.where((box.lower < 0) & (box.upper > 0), middle * 0, middle)

    def _mixed(self, end: Array, limit: Array, chord: Array) -> Array:
        """The slope of a line for boxes from ``end`` to ``limit`` that hold 0 between them.

        Where the tangent at some t on the side of ``limit`` meets the curve at ``end``, so do, or
        miss it on the sound side, the tangents further out: the best touches at the middle, or at t
        if that is further out. Elsewhere the line is the chord.
        """
        xp = self.xp
        value = self.evaluate(end)
        centre = (end + limit) / 2
        limit = limit.clip(min=-self.reach, max=self.reach)
        near, far = limit * 0, limit
        side = xp.function("sign", limit)
        for _ in range(TANGENT_STEPS):
            middle = (near + far) / 2
            # Above 0 for a tangent that passes end too steeply: the touching point is further out.
            excess = (
                value - self.evaluate(middle) - self.derivative(middle) * (end - middle)
            ) * side
            further = excess > 0
            near = xp.where(further, middle, near)
            far = xp.where(further, far, middle)
        best = xp.where(centre * side > far * side, centre, far)
        return xp.where(far == limit, chord, self.derivative(best))

    def _reach(self, end: Array, limit: Array) -> Array:
        """How far from ``limit`` towards 0 tangents may touch that miss ``end`` on the sound side.

        ``limit`` itself if none does; ``end`` and ``limit`` hold 0 between them.
        """
        xp = self.xp
        value, near, far = self.evaluate(end), limit * 0, limit
        side = xp.function("sign", limit)
        for _ in range(REACH_STEPS):
            middle = (near + far) / 2
            missed = value - self.evaluate(middle) - self.derivative(middle) * (end - middle)
            further = missed * side > 0
            near = xp.where(further, middle, near)
            far = xp.where(further, far, middle)
        # Short of it, for the rounding of the points that are chosen.
        return far + (limit - far) * SHORT

    def bend(self, relaxation: Relaxation, *boxes: Box) -> Relaxation:
        if not isinstance(relaxation, Planes):
            return relaxation
        xp, (box,) = self.xp, boxes
        zero, low, high = xp.zeros(1), box.lower, box.upper
        # No tangent further out than the curve's reach says anything.
        first_touch, last_touch = low.clip(min=-self.reach), high.clip(max=self.reach)
        # Below: from the lower end on, while the function is convex and the upper end is missed.
        mixed = self._reach(high.clip(min=0), first_touch.clip(max=0))
        below = xp.where(high <= 0, high, xp.where(low < 0, mixed, low)) - first_touch
        mixed = self._reach(low.clip(max=0), last_touch.clip(min=0))
        start = xp.where(low >= 0, low, xp.where(high > 0, mixed, high))
        above = last_touch - start
        error = 8 * self.value_error * (1 + (high - low) + box.magnitude(xp))
        known = error <= MOST_ERROR
        below, above = (xp.where(known, x.clip(min=0), zero) for x in (below, above))
        steepest = self.derivative(xp.minimum(xp.maximum(low, zero), high))
        noise = self.rounding * (2 + 3 * times_finite(steepest, box.magnitude(xp), xp))
        (first,), (second,) = relaxation.below, relaxation.above
        middle = (low + high) / 2
        tilts = []
        for arc, begin in ((below, first_touch), (above, start)):
            safe = xp.where(arc > 0, arc, xp.full((1,), 1.0))
            tilts.append(((middle - begin) / safe).clip(min=0, max=1))
        tilt = xp.where(below > 0, tilts[0], tilts[1])
        tilt = xp.where((below > 0) & (above > 0), (tilts[0] + tilts[1]) / 2, tilt)
        return Tangents(
            relaxation,
            self,
            Arc(first_touch, below, first + low * 0, relaxation.lower_offset, error),
            Arc(start, above, second + low * 0, relaxation.upper_offset, error),
            tilt,
            relaxation.noise + noise,
        )

    def slopes(self, box: Box) -> tuple[Array, Array]:
        xp = self.xp
        lower, upper = box.lower, box.upper
        one = xp.full((1,), 1.0)
        wide = upper > lower
        width = xp.where(wide, upper - lower, one)
        chord = (self.evaluate(upper) - self.evaluate(lower)) / width
        chord = xp.where(wide, chord, self.derivative(lower))
        middle = self.derivative((lower + upper) / 2)
        below_mixed = self._mixed(upper, lower.clip(max=0), chord)
        above_mixed = self._mixed(lower, upper.clip(min=0), chord)
        below = xp.where(upper <= 0, middle, xp.where(lower >= 0, chord, below_mixed))
        above = xp.where(lower >= 0, middle, xp.where(upper <= 0, chord, above_mixed))
        return below, above

    def gap(self, slope: Array, box: Box) -> tuple[Array, Array]:
        xp = self.xp
        at_lower = self.evaluate(box.lower) - slope * box.lower
        at_upper = self.evaluate(box.upper) - slope * box.upper
        least, greatest = xp.minimum(at_lower, at_upper), xp.maximum(at_lower, at_upper)
        turn = self.touch(slope)
        for point in (turn, -turn):
            inside = (box.lower < point) & (point < box.upper)
            value = self.evaluate(point) - slope * point
            least = xp.where(inside, xp.minimum(least, value), least)
            greatest = xp.where(inside, xp.maximum(greatest, value), greatest)
        error = self.value_error + 8 * xp.unit_roundoff * abs(slope) * box.magnitude(xp)
        return least - error, greatest + error


@dataclass(frozen=True, eq=False, kw_only=True)
class Sigmoid(SShaped):
    """y = 1 / (1 + exp(-x))."""

    reach: ClassVar[float] = 40.0

    @staticmethod
    def of(size: int) -> Sigmoid:
        """Over vectors of the given length."""
        return Sigmoid(sizes=(size,), size=size)

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return self.xp.function("sigmoid", inputs[0])

    def derivative(self, x: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
        y = self.evaluate(x)
        return y * (1 - y)

    def touching(self, x: Array) -> tuple[Array, Array, Array]:
        y = self.evaluate(x)
        slope = y * (1 - y)
        return y, slope, slope * (1 - 2 * y)

    def touch(self, slope: Array) -> Array:
        # y (1 - y) = s with y <= 1/2, in the form that does not cancel; then x = log((1 - y) / y).
        xp = self.xp
        safe = slope.clip(min=xp.tiny, max=0.25)
        y = 2 * safe / (1 + xp.function("sqrt", 1 - 4 * safe))
        return xp.function("log", (1 - y) / y)


@dataclass(frozen=True, eq=False, kw_only=True)
class Tanh(SShaped):
    """y = tanh(x)."""

    reach: ClassVar[float] = 20.0

    @staticmethod
    def of(size: int) -> Tanh:
        """Over vectors of the given length."""
        return Tanh(sizes=(size,), size=size)

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return self.xp.function("tanh", inputs[0])

    def derivative(self, x: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
        y = self.evaluate(x)
        return 1 - y * y

    def touching(self, x: Array) -> tuple[Array, Array, Array]:
        y = self.evaluate(x)
        slope = 1 - y * y
        return y, slope, -2 * y * slope

    def touch(self, slope: Array) -> Array:
        # 1 - tanh(x)^2 = s, so with r = sqrt(1 - s): x = log((1 + r) / (1 - r)) / 2, 1 - r = s / (1
        # + r).
        xp = self.xp
        safe = slope.clip(min=xp.tiny, max=1.0)
        root = 1 + xp.function("sqrt", 1 - safe)
        return xp.function("log", root * root / safe) / 2


@reads("Sigmoid")
def read_sigmoid(node: OnnxNode, builder: Builder) -> Operand:
    """1 / (1 + exp(-x))."""
    value = node.value(0)
    return builder.add(node.name, Sigmoid.of(value.size), [value])


@reads("Tanh")
def read_tanh(node: OnnxNode, builder: Builder) -> Operand:
    """tanh(x)."""
    value = node.value(0)
    return builder.add(node.name, Tanh.of(value.size), [value])


@examples("Sigmoid", "Tanh")
def _examples() -> Iterator[Example]:
    for op_type in ("Sigmoid", "Tanh"):
        yield Example(op_type, ((2, 3),))
        yield Example(op_type, ((4,),), low=-9.0, high=12.0)
