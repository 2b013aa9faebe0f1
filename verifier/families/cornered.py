"""Elementwise functions whose graph over a box lies between lines through a few corners."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from verifier.families.elementwise import Elementwise, times_finite
from verifier.families.relaxation import Planes
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Backend, Bool, Float


@dataclass(frozen=True, eq=False)
class Corner:
    """A place in the box, and how low and how high the closure of the graph goes there.

    ``there``: which boxes have it. ``error`` bounds the rounding of both values, ``fuzz`` that of
    the place.
    """

    there: Bool[Array, "batch n"]
    place: Float[Array, "batch n"]
    least: Float[Array, "batch n"]
    greatest: Float[Array, "batch n"]
    error: Array
    fuzz: Array


@dataclass(frozen=True, eq=False)
class Straight:
    """Where phi is slope x + offset on the whole box; ``exact``: with a slope of 0, 1 or -1."""

    where: Bool[Array, "batch n"]
    slope: Float[Array, "batch n"]
    offset: Float[Array, "batch n"]
    exact: Bool[Array, "batch n"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Cornered(Elementwise):
    """phi whose convex and concave envelopes over a box are polygons through its corners.

    Piecewise linear functions, with jumps perhaps, and staircases. For any slope s the extremes of
    phi(x) - s x are those over the corners. The mean of a line over the box is its value in the
    middle, so the lines of the least area support the envelopes there.
    """

    @abstractmethod
    def corners(self, box: Box) -> Sequence[Corner]:
        """The corners over a box, from left to right."""

    @abstractmethod
    def straight(self, box: Box) -> Straight:
        """Where the box meets one piece only."""

    def interval(self, *boxes: Box) -> Box:
        box = ordered(boxes[0], self.xp)
        lower, upper = self.gap(zeros_like(box.lower, self.xp), box)
        return Box(lower, upper)

    def slopes(self, box: Box) -> tuple[Array, Array]:
        xp, box = self.xp, ordered(box, self.xp)
        finite = xp.function("isfinite", box.lower) & xp.function("isfinite", box.upper)
        zero = xp.zeros(1)
        box = Box(xp.where(finite, box.lower, zero), xp.where(finite, box.upper, zero))
        corners, straight = self.corners(box), self.straight(box)
        middle = box.lower / 2 + box.upper / 2
        below = _support(corners, [c.least for c in corners], middle, xp)
        above = _support(corners, [-c.greatest for c in corners], middle, xp)
        below = xp.where(straight.where, straight.slope, below)
        above = xp.where(straight.where, straight.slope, -above)
        return xp.where(finite, below, zero), xp.where(finite, above, zero)

    def gap(self, slope: Array, box: Box) -> tuple[Array, Array]:
        xp, box = self.xp, ordered(box, self.xp)
        unit, infinity = 4 * xp.unit_roundoff, xp.full((1,), float("inf"))
        unknown = xp.function("isnan", box.lower) | xp.function("isnan", box.upper)
        least = xp.where(unknown, xp.full((1,), float("nan")), infinity)
        greatest = -least
        for corner in self.corners(box):
            product = times_finite(slope, corner.place, xp)
            rounding = abs(slope) * corner.fuzz + unit * (slope != 0) * abs(product)
            low, high = corner.least - product, corner.greatest - product
            low = low - corner.error - rounding - xp.where(slope != 0, unit * abs(low), 0 * unit)
            high = high + corner.error + rounding
            high = high + xp.where(slope != 0, unit * abs(high), 0 * unit)
            least = xp.minimum(least, xp.where(corner.there, low, infinity))
            greatest = xp.maximum(greatest, xp.where(corner.there, high, -infinity))
        return least, greatest

    def relax(self, *boxes: Box) -> Planes:
        """As for any elementwise operator, but exact where the function is straight on the box."""
        xp, box = self.xp, ordered(boxes[0], self.xp)
        planes = super().relax(box)
        straight = self.straight(box)
        size = 2 * abs(straight.offset)
        reach = times_finite(abs(straight.slope), box.magnitude(xp), xp)
        size = xp.where(straight.exact, size, size + 2 * reach)
        noise = self.rounding * size + 16 * xp.least_normal
        nothing = xp.zeros(1)
        noise = xp.where(straight.exact & (straight.offset == 0), nothing, noise)
        offset = xp.where(straight.where, straight.offset, nothing)
        return replace(
            planes,
            lower_offset=xp.where(straight.where, offset, planes.lower_offset),
            upper_offset=xp.where(straight.where, offset, planes.upper_offset),
            noise=xp.where(straight.where, noise, planes.noise),
        )


def zeros_like(x: Array, xp: Backend) -> Array:
    """Zeros, also where x is infinite or no number."""
    return 0 * xp.floats(x == x)  # noqa: PLR0124


def ordered(box: Box, xp: Backend) -> Box:
    """A box whose ends rounding let pass each other, turned about."""
    return Box(xp.minimum(box.lower, box.upper), xp.maximum(box.lower, box.upper))


def _support(
    corners: Sequence[Corner], values: Sequence[Array], middle: Array, xp: Backend
) -> Array:
    """The slope of the lower convex envelope of the corners at the middle."""
    best, slope = xp.full((1,), float("inf")) + middle * 0, middle * 0
    one = xp.full((1,), 1.0)
    for j, right in enumerate(corners):
        for i, left in enumerate(corners[:j]):
            width = right.place - left.place
            rise = (values[j] - values[i]) / xp.where(width > 0, width, one)
            height = values[i] + rise * (middle - left.place)
            about = (left.place <= middle) & (middle <= right.place) & (width > 0)
            better = about & left.there & right.there & (height < best)
            best, slope = xp.where(better, height, best), xp.where(better, rise, slope)
    return slope
