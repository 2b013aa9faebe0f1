"""Continuous piecewise linear functions of one variable with many kinks, each element its own."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from verifier.families.elementwise import Elementwise, times_finite
from verifier.families.leaning import WEIGHED, Fan, Leaning
from verifier.families.operator import Part
from verifier.families.relaxation import Planes, Relaxation
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Bool, Float, gamma

ALTERNATIONS = 12
"""How often the ends of a supporting line are sought by turns; any slope is sound."""
LINES = 5
"""How many lines rows choose between on each side; odd, so that one is best for the middle."""
ROUNDINGS = 16
"""More than what evaluating a piece, moving a kink to a number of the working precision, and a
line's value at it come to, in roundings of the table's size."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(Elementwise):
    """y_i = f_i(x_i): between kinks j - 1 and j a line of slope ``bends_j`` with ``offsets_j``.

    Constants are ``[n, _]``, or ``[1, _]`` for the same function everywhere. The function that is
    meant is continuous and piecewise linear, and computed from other constants: each of its kinks
    is within a rounding or two of one of the table's, its slopes are at most ``steep`` in size, and
    its values differ from the table's by ``doubtful`` (bulk + steep |x|) at most.

    For any slope s the extremes of f(x) - s x over a box are those at its ends and at the kinks in
    it. A kink that is moved into the box if it is not there is a point of the box, so that nothing
    need be known about which ones are.
    """

    kinks: Array
    """Ascending."""
    values: Array
    """At the kinks."""
    bends: Array
    """One more than there are kinks."""
    offsets: Array
    bulk: Array
    """[_, 1]: at least the size of every offset, and of what they are sums of."""
    steep: Array
    """[_, 1]: at least the size of every slope, and of what they are sums of."""
    doubtful: float = 0.0

    def part(self, index: np.ndarray) -> Part | None:
        constants = {
            f.name: getattr(self, f.name)[index]
            for f in fields(self)
            if isinstance(getattr(self, f.name), np.ndarray) and len(self.kinks) > 1
        }
        count = len(index)
        smaller = replace(self, sizes=(count,), size=count, **constants)
        return Part(smaller, index, (index,))

    @property
    def work(self) -> int:
        return self.size * max(1, self.kinks.shape[1].bit_length())

    def _row(self) -> Array:
        """Which row of the constants each element has."""
        return self.xp.arange(self.size) * int(self.kinks.shape[0] > 1)

    def _piece(self, x: Float[Array, "batch n"]) -> Array:
        """The piece that each x is on, by bisection: int64 [batch, n]."""
        xp, count, row = self.xp, self.kinks.shape[1], self._row()
        piece = xp.ints(xp.zeros(x.shape[0], self.size))
        for power in reversed(range(count.bit_length())):
            further = piece + (1 << power)
            kink = self.kinks[row, further.clip(max=count) - 1]
            piece = xp.where((further <= count) & (kink < x), further, piece)
        return piece

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        (x,) = inputs
        piece, row = self._piece(x), self._row()
        return times_finite(self.bends[row, piece], x, self.xp) + self.offsets[row, piece]

    def derivative(self, x: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
        return self.bends[self._row(), self._piece(x)] + x * 0

    def unstable(self, which: int, box: Box) -> Bool[Array, "batch n"]:
        return (self._piece(box.lower) != self._piece(box.upper)) & (box.upper > box.lower)

    def split_point(self, box: Box) -> Array:
        """The kink nearest to the middle, or the middle where none is inside."""
        xp, middle = self.xp, box.lower / 2 + box.upper / 2
        row, last = self._row(), self.kinks.shape[1] - 1
        piece, best = self._piece(middle), middle
        distance = xp.full((1,), float("inf"))
        for kink in (
            self.kinks[row, (piece - 1).clip(min=0)],
            self.kinks[row, piece.clip(max=last)],
        ):
            inside = (box.lower < kink) & (kink < box.upper) & (abs(kink - middle) < distance)
            best = xp.where(inside, kink, best)
            distance = xp.where(inside, abs(kink - middle), distance)
        return best

    def interval(self, *boxes: Box) -> Box:
        box = boxes[0]
        lower, upper = self.gap(0 * self.xp.floats(box.lower == box.lower), box)
        return Box(lower, upper)

    def gap(self, slope: Array, box: Box) -> tuple[Array, Array]:
        return self._gap(self._points(box), slope, box)

    def _gap(self, points: tuple[Array, Array], slope: Array, box: Box) -> tuple[Array, Array]:
        """As ``gap``, of the function at all points where its extremes can be."""
        xp, (place, value) = self.xp, points
        rest = value - times_finite(slope[:, :, None], place, xp)
        size, unit = box.magnitude(xp), ROUNDINGS * xp.unit_roundoff
        reach = self.bulk[:, 0] + times_finite(self.steep[:, 0], size, xp)
        error = (self.doubtful + unit) * reach + 64 * xp.least_normal
        error = error + unit * times_finite(abs(slope), size, xp)
        least, greatest = xp.amin(rest, 2) - error, xp.amax(rest, 2) + error
        known = xp.function("isfinite", least) & xp.function("isfinite", greatest)
        nan = xp.function("isnan", box.lower) | xp.function("isnan", box.upper)
        nothing = xp.where(nan, xp.full((1,), float("nan")), xp.full((1,), float("inf")))
        return xp.where(known, least, -nothing), xp.where(known, greatest, nothing)

    def _points(self, box: Box) -> tuple[Array, Array]:
        """The ends of the box with the kinks between them, and f there: [batch, n, kinks + 2]."""
        xp = self.xp
        low = xp.minimum(box.lower, box.upper)[:, :, None]
        high = xp.maximum(box.lower, box.upper)[:, :, None]
        first = self.evaluate(low[:, :, 0])[:, :, None]
        last = self.evaluate(high[:, :, 0])[:, :, None]
        place = xp.minimum(xp.maximum(self.kinks[None], low), high)
        value = xp.where(self.kinks[None] >= high, last, self.values[None] + low * 0)
        value = xp.where(self.kinks[None] <= low, first, value)
        return xp.cat([low, place, high], 2), xp.cat([first, value, last], 2)

    def slopes(self, box: Box) -> tuple[Array, Array]:
        place, value = self._points(box)
        return self._support(place, value, 0.5), -self._support(place, -value, 0.5)

    def _support(self, place: Array, value: Array, share: float) -> Array:
        """The slope of the lower convex envelope of points, at a share of the way along the box.

        The right end of the line is the point that is seen lowest from its left end, and the other
        way round, by turns: each turn lowers the line there.
        """
        xp, infinity = self.xp, self.xp.full((1,), float("inf"))
        low, high = place[:, :, :1], place[:, :, -1:]
        at = low + share * (high - low)
        left, right = place <= at, place >= at
        # The point itself, where it is a kink, is seen by the one on the side of the middle.
        left, right = (left & (place < at), right) if share > 0.5 else (left, right & (place > at))
        x, y, slope = low, value[:, :, :1], low * 0
        for turn in range(2 * ALTERNATIONS):
            seen, sign = (right, 1.0) if turn % 2 == 0 else (left, -1.0)
            apart = place - x
            there = seen & (apart != 0)
            steep = (value - y) / xp.where(there, apart, xp.full((1,), 1.0))
            steep = xp.where(there, sign * steep, infinity)
            best = (-steep).argmax(2)[:, :, None]
            found = sign * xp.take_along(steep, best, 2)
            known = abs(found) < float("inf")
            new = xp.where(known, found, slope)
            still = turn > 1 and bool((new == slope).all())
            slope = new
            x = xp.where(known, xp.take_along(place, best, 2), x)
            y = xp.where(known, xp.take_along(value, best, 2), y)
            if still:
                break
        return slope[:, :, 0]

    def bend(self, relaxation: Relaxation, *boxes: Box) -> Relaxation:
        if not isinstance(relaxation, Planes):
            return relaxation
        xp, (box,) = self.xp, boxes
        points = self._points(box)
        fans, noise = list[Fan](), relaxation.noise
        for sign in (1, -1):
            plain, start = (
                (relaxation.below[0], relaxation.lower_offset)
                if sign > 0
                else (relaxation.above[0], relaxation.upper_offset)
            )
            slopes, offsets = list[Array](), list[Array]()
            for line in range(LINES):
                slope, offset = plain, start
                if line != LINES // 2:
                    share = line / (LINES - 1)
                    slope = sign * self._support(points[0], sign * points[1], share)
                    offset = self._gap(points, slope, box)[sign < 0]
                slopes.append(slope[:, :, None])
                offsets.append(offset[:, :, None])
            fans.append(Fan(xp.cat(slopes, 2), xp.cat(offsets, 2)))
            size = xp.amax(abs(fans[-1].slope), 2)
            reach = times_finite(size, box.magnitude(xp), xp)
            size = reach + xp.amax(abs(fans[-1].offset), 2)
            noise = noise + WEIGHED * self.rounding * size
        return Leaning(relaxation, fans[0], fans[1], noise)


@dataclass(frozen=True, eq=False)
class Hinges:
    """f_i(x) = base_i + sum_j weight_ij h(scale_ij x + shift_ij), h(z) = max(z, leak z).

    Arrays are ``[n, hinges]`` and ``[n]``; where the weight is 0 there is no hinge. The constants
    carry ``terms`` roundings, those of ``shift`` and ``base`` relative to the sizes given.
    """

    weight: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    shift_size: np.ndarray
    base: np.ndarray
    base_size: np.ndarray
    leak: float
    terms: int

    def table(self) -> Table:
        """The sum as a table, on no backend yet.

        A slope or an offset is a sum of at most twice as many numbers as there are hinges, each
        rounded a few times, of which the sizes add up to at most twice ``steep`` or ``bulk``. A
        hinge that is taken for one on the wrong side of its kink, a rounding away, is off by no
        more than the rounding of its shift.
        """
        used, count = self.weight != 0, self.weight.shape[1]
        scale = np.where(used, self.scale, 1.0)
        kinks = np.where(used, -self.shift / scale, 0.0)
        last = np.where(used, kinks, -np.inf).max(axis=1, initial=-np.inf)
        kinks = np.where(used, kinks, np.where(np.isfinite(last), last, 0.0)[:, None])
        order = np.argsort(kinks, axis=1, kind="stable")
        left = np.where(scale > 0, self.leak, 1.0)
        parts = list[np.ndarray]()
        for factor, base in ((scale, 0 * self.base), (np.where(used, self.shift, 0), self.base)):
            here = self.weight * factor
            before, after = here * left, here * (1 + self.leak - left)
            steps = np.take_along_axis(after - before, order, 1)
            first = (base + before.sum(axis=1))[:, None]
            parts.append(np.concatenate([first, first + np.cumsum(steps, axis=1)], axis=1))
        kinks = np.take_along_axis(kinks, order, 1)
        weight = abs(self.weight)
        bulk = (weight * np.where(used, self.shift_size, 0)).sum(axis=1) + self.base_size
        steep = (weight * abs(scale)).sum(axis=1)
        arrays = {
            "kinks": kinks,
            "values": parts[0][:, :-1] * kinks + parts[1][:, :-1],
            "bends": parts[0],
            "offsets": parts[1],
            "bulk": bulk[:, None],
            "steep": steep[:, None],
        }
        size = len(kinks)
        if all((x == x[:1]).all() for x in arrays.values()):
            arrays = {name: x[:1] for name, x in arrays.items()}
        doubtful = gamma(8 * count + self.terms + 16, 2.0**-53)
        return Table(sizes=(size,), size=size, doubtful=doubtful, **arrays)
