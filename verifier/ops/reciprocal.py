"""1 / x, over boxes that do not hold 0."""

from __future__ import annotations

from verifier.families.elementwise import Elementwise
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Float


@dataclass(frozen=True, eq=False, kw_only=True)
class Reciprocal(Elementwise):
    """y = 1 / x.

    Where the box holds 0 nothing is known: the bounds become NaN, and nothing is proved. Convex for
    x > 0 and concave for x < 0: the chord on one side, the tangent at sqrt(l u), where the slope is
    the chord's, on the other.
    """

    @staticmethod
    def of(size: int) -> Reciprocal:
        """Over vectors of the given length."""
        return Reciprocal(sizes=(size,), size=size)

    def _unknown(self, box: Box) -> Array:
        """NaN where the box holds 0, else 0."""
        xp = self.xp
        holds = (box.lower <= 0) & (box.upper >= 0)
        return xp.where(holds, xp.full((1,), float("nan")), xp.zeros(1))

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        x = inputs[0]
        safe = self.xp.where(x != 0, x, self.xp.full((1,), 1.0))
        return self.xp.where(x != 0, 1 / safe, self.xp.full((1,), float("nan")))

    def derivative(self, x: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
        y = self.evaluate(x)
        return -y * y

    def interval(self, *boxes: Box) -> Box:
        (box,) = boxes
        unknown = self._unknown(box)
        low, high = self.evaluate(box.upper), self.evaluate(box.lower)
        widen, least = 4 * self.xp.unit_roundoff, self.xp.least_normal
        low, high = low - widen * abs(low) - least, high + widen * abs(high) + least
        return Box(low + unknown, high + unknown)

    def split_point(self, box: Box) -> Array:
        return box.center

    def slopes(self, box: Box) -> tuple[Array, Array]:
        slope = -self.evaluate(box.lower * box.upper) + self._unknown(box)
        return slope, slope

    def gap(self, slope: Array, box: Box) -> tuple[Array, Array]:
        xp = self.xp
        one = xp.full((1,), 1.0)
        at_lower = self.evaluate(box.lower) - slope * box.lower
        at_upper = self.evaluate(box.upper) - slope * box.upper
        least, greatest = xp.minimum(at_lower, at_upper), xp.maximum(at_lower, at_upper)
        turn = xp.function("sqrt", 1 / xp.where(slope < 0, -slope, one))
        sign = xp.where(box.lower > 0, one, -one)
        point = turn * sign
        inside = (slope < 0) & (box.lower < point) & (point < box.upper)
        value = self.evaluate(point) - slope * point
        least = xp.where(inside, xp.minimum(least, value), least)
        greatest = xp.where(inside, xp.maximum(greatest, value), greatest)
        peak = xp.maximum(abs(self.evaluate(box.lower)), abs(self.evaluate(box.upper)))
        error = 16 * xp.unit_roundoff * (peak + abs(slope) * box.magnitude(xp)) + self._unknown(box)
        return least - error, greatest + error
