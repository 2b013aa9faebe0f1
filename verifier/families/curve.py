"""Smooth functions of one variable, convex and concave by turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from verifier.families.elementwise import Elementwise
from verifier.families.relaxation import Planes
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Backend, Float

BISECTIONS = 12
"""Steps towards a stationary point; what is left of the way costs tightness, of second order."""
SAMPLES = 8
"""Points on each half of a box that aim its lines; any slope is sound."""

INFINITY = float("inf")
Formula = Callable[[Backend, Array], Array]


@dataclass(frozen=True, eq=False, kw_only=True)
class Function:
    """A function of one variable, and its shape."""

    name: str
    value: Formula
    slope: Formula
    """phi'"""
    bends: tuple[float, ...] = ()
    """Where its curvature changes, ascending; off by their rounding perhaps, where phi'' is 0."""
    signs: tuple[int, ...] = (1,)
    """For each piece between bends: 1 convex, -1 concave."""
    slopes: tuple[Formula, ...] = ()
    """phi' on each piece, at its ends the one-sided one; needed where ``slope`` jumps."""
    turns: tuple[float, ...] = ()
    """Where phi' changes its sign."""
    domain: tuple[float, float] = (-INFINITY, INFINITY)
    """Where it is defined: of boxes that reach beyond it nothing is known."""
    pole: bool = False
    """Is it undefined at the start of its domain, too?"""
    accuracy: float = 32.0
    floor: float = 1.0
    """Values and slopes are off by ``accuracy`` unit roundoffs of their size + this."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve(Elementwise):
    """y = phi(x), phi convex or concave between its bends.

    Lines are those of least area: the area between phi and a line below it depends on the line's
    height in the middle of the box only, so the best line supports the convex envelope there. For
    ``gap`` the least value of h(x) = phi(x) - s x is wanted on each piece: where h is concave it is
    at an end; where h is convex a bracket [a, b] of its stationary point gives, by the tangents at
    both ends, h >= max(h(a) - max(-h'(a), 0) (b - a), h(b) - max(h'(b), 0) (b - a)).
    """

    function: Function

    @staticmethod
    def of(size: int, function: Function) -> Curve:
        """Over vectors of the given length."""
        return Curve(sizes=(size,), size=size, function=function)

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return self.function.value(self.xp, inputs[0])

    def derivative(self, x: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
        return self.function.slope(self.xp, x)

    def piece_derivative(self, piece: int, x: Array) -> Array:
        """phi' on a piece; at its ends the one-sided derivative from inside."""
        if self.function.slopes:
            return self.function.slopes[piece](self.xp, x)
        return self.derivative(x)

    def bends_at(self, box: Box) -> tuple[Array, ...]:
        """The bends that matter to each neuron; arrays that broadcast to the box."""
        return tuple(self.xp.full((1, 1), bend) for bend in self.function.bends)

    def outside(self, box: Box) -> Array:
        """NaN where the box leaves the domain, else 0."""
        xp, (least, most) = self.xp, self.function.domain
        beyond = (box.lower < least) | (box.upper > most)
        if self.function.pole:
            beyond = beyond | (box.lower <= least)
        return xp.where(beyond, xp.full((1,), float("nan")), xp.zeros(1))

    def _value_error(self, peak: Array) -> Array:
        unit = self.xp.unit_roundoff
        f = self.function
        return f.accuracy * unit * (peak + f.floor) + 16 * self.xp.least_normal

    def interval(self, *boxes: Box) -> Box:
        (box,) = boxes
        xp = self.xp
        ends = self.evaluate(box.lower), self.evaluate(box.upper)
        low, high = xp.minimum(*ends), xp.maximum(*ends)
        for turn in self.function.turns:
            point = xp.full((1, 1), turn)
            inside, value = (box.lower < point) & (point < box.upper), self.evaluate(point)
            low = xp.where(inside, xp.minimum(low, value), low)
            high = xp.where(inside, xp.maximum(high, value), high)
        unknown = self.outside(box)
        low, high = low - self._value_error(abs(low)), high + self._value_error(abs(high))
        return Box(low + unknown, high + unknown)

    def relax(self, *boxes: Box) -> Planes:
        """The planes of ``slopes``, or horizontal ones where these are closer in the middle."""
        planes, flat = super().relax(*boxes), self.interval(*boxes)
        (box,) = boxes
        xp, middle = self.xp, box.center
        (below,), (above,) = planes.below, planes.above
        low = below * middle + planes.lower_offset < flat.lower
        high = above * middle + planes.upper_offset > flat.upper
        zero = xp.zeros(1)
        return replace(
            planes,
            below=(xp.where(low, zero, below),),
            above=(xp.where(high, zero, above),),
            lower_offset=xp.where(low, flat.lower, planes.lower_offset),
            upper_offset=xp.where(high, flat.upper, planes.upper_offset),
        )

    def split_point(self, box: Box) -> Array:
        """The bend in the middle half of the box, or its middle."""
        point = box.center
        quarter = (box.upper - box.lower) / 4
        for bend in self.bends_at(box):
            near = abs(bend - box.center) < quarter
            point = self.xp.where(near, bend + point * 0, point)
        return point

    def slopes(self, box: Box) -> tuple[Array, Array]:
        xp = self.xp
        width = box.upper - box.lower
        wide = width > 0
        safe = xp.where(wide, width, xp.full((1,), 1.0))
        middle = box.center
        tangent = self.derivative(middle)
        # Where phi' is infinite, as that of a root at 0, any slope will do.
        tangent = xp.where(abs(tangent) < INFINITY, tangent, xp.zeros(1))
        unknown = self.outside(box)
        if not self.function.bends:
            chord = (self.evaluate(box.upper) - self.evaluate(box.lower)) / safe
            chord = xp.where(wide, chord, tangent)
            below, above = (tangent, chord) if self.function.signs[0] > 0 else (chord, tangent)
            return below + unknown, above + unknown
        halves = self.samples(box, middle)
        value = self.evaluate(middle)
        below = self.support(halves, (middle, value, tangent), 1)
        above = self.support(halves, (middle, value, tangent), -1)
        return xp.where(wide, below, tangent) + unknown, xp.where(wide, above, tangent) + unknown

    def samples(self, box: Box, middle: Array) -> tuple[list[Array], list[Array]]:
        """Points left of the middle, and right of it."""
        xp, half = self.xp, box.radius
        left = [box.lower + half * (k / SAMPLES) for k in range(SAMPLES)]
        right = [box.upper - half * (k / SAMPLES) for k in range(SAMPLES)]
        for bend in self.bends_at(box):
            left.append(xp.minimum(xp.maximum(bend, box.lower), middle))
            right.append(xp.maximum(xp.minimum(bend, box.upper), middle))
        return left, right

    def support(
        self, halves: tuple[list[Array], list[Array]], middle: tuple[Array, Array, Array], sign: int
    ) -> Array:
        """The slope that supports the convex (sign 1) or concave envelope in the middle of a box.

        Of the chords from a point of the left half to one of the right half the one that passes
        furthest below phi(middle), or else the tangent. ``middle``: the point, phi, phi'.
        """
        xp = self.xp
        point, value, slope = middle
        # Ties are not broken by rounding errors.
        lowest = sign * value - 32 * xp.unit_roundoff * (abs(value) + self.function.floor)
        right = [(x, sign * self.evaluate(x)) for x in halves[1]]
        for x in halves[0]:
            y = sign * self.evaluate(x)
            for other, height in right:
                apart = other - x
                chord = (height - y) / xp.where(apart > 0, apart, xp.full((1,), 1.0))
                at_middle = y + chord * (point - x)
                lower = (at_middle < lowest) & (apart > 0)
                lowest = xp.where(lower, at_middle, lowest)
                slope = xp.where(lower, sign * chord, slope)
        return slope

    def gap(self, slope: Array, box: Box) -> tuple[Array, Array]:
        xp = self.xp
        low, high = self.evaluate(box.lower), self.evaluate(box.upper)
        at_lower, at_upper = low - slope * box.lower, high - slope * box.upper
        least, greatest = xp.minimum(at_lower, at_upper), xp.maximum(at_lower, at_upper)
        peak, loss = xp.maximum(abs(low), abs(high)), xp.zeros(1)
        bends = self.bends_at(box)
        inside = [xp.minimum(xp.maximum(bend, box.lower), box.upper) for bend in bends]
        edges = [box.lower, *inside, box.upper]
        for piece, sign in enumerate(self.function.signs):
            start, stop = edges[piece], edges[piece + 1]
            found, value, steep = self._lowest(piece, sign, slope, start, stop)
            if sign > 0:
                least = xp.minimum(least, found)
            else:
                greatest = xp.maximum(greatest, -found)
            peak, loss = xp.maximum(peak, value), xp.maximum(loss, steep)
            if piece:
                edge = self.evaluate(start)
                peak = xp.maximum(peak, abs(edge))
                least = xp.minimum(least, edge - slope * start)
                greatest = xp.maximum(greatest, edge - slope * start)
        error = self._value_error(peak) + 8 * xp.unit_roundoff * abs(slope) * box.magnitude(xp)
        error = error + loss + self.outside(box)
        return least - error, greatest + error

    def _lowest(
        self, piece: int, sign: int, slope: Array, start: Array, stop: Array
    ) -> tuple[Array, Array, Array]:
        """A lower bound of h = sign (phi(x) - slope x), convex on [start, stop].

        Then the size of the values of phi that it needed, and what errors of phi' may cost.
        """
        xp = self.xp
        a, b = start, stop
        for _ in range(BISECTIONS):
            middle = (a + b) / 2
            rising = (self.piece_derivative(piece, middle) - slope) * sign > 0
            a, b = xp.where(rising, a, middle), xp.where(rising, middle, b)
        values = self.evaluate(a), self.evaluate(b)
        falls = ((slope - self.piece_derivative(piece, a)) * sign).clip(min=0)
        rises = ((self.piece_derivative(piece, b) - slope) * sign).clip(min=0)
        length = b - a
        first = sign * (values[0] - slope * a) - _product(xp, falls, length)
        second = sign * (values[1] - slope * b) - _product(xp, rises, length)
        # Where phi' is infinite at an end, the other bound holds.
        first = xp.where(first >= second, first, second)
        steep = abs(self.piece_derivative(piece, start)) + abs(self.piece_derivative(piece, stop))
        reach = stop - start
        steep = xp.where(steep < float("inf"), steep, abs(slope) + falls + rises)
        f = self.function
        lost = _product(xp, steep + abs(slope) + f.floor, reach) * (f.accuracy * xp.unit_roundoff)
        return first, xp.maximum(abs(values[0]), abs(values[1])), lost


def _product(xp: Backend, slope: Array, length: Array) -> Array:
    """Slope times length; 0 where the length is."""
    return xp.where(length > 0, slope * length, xp.zeros(1))
