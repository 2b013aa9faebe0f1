"""Products of two values."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.families.nonlinear import Nonlinear
from verifier.families.relaxation import Planes, Relaxation
from verifier.sets import Box, Owner
from verifier.tensors import Array, Bool, Float, gamma

NEGLIGIBLE = 1024
"""A box of so many roundings' width is a point as far as the products of its values go."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Product(Nonlinear):
    """z_i = x_i y_i.

    Below and above are the mean of McCormick's two planes on each side (McCormick 1976): for any
    point of the box (x - l_x)(y - l_y) >= 0, and so on for the other corners; a convex combination
    of sound planes is sound.
    """

    @staticmethod
    def of(size: int) -> Product:
        """Over two vectors of the given length."""
        return Product(sizes=(size, size), size=size)

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return inputs[0] * inputs[1]

    def partials(self, *inputs: Float[Array, "batch n"]) -> tuple[tuple[Array, Array | None], ...]:
        return (inputs[1], None), (inputs[0], None)

    def unstable(self, which: int, box: Box) -> Bool[Array, "batch n"]:
        xp = self.xp
        size = abs(box.lower) + abs(box.upper)
        return box.upper - box.lower > NEGLIGIBLE * xp.unit_roundoff * size + xp.tiny

    def interval(self, *boxes: Box) -> Box:
        x, y = boxes
        xp = self.xp
        corners = [x.lower * y.lower, x.lower * y.upper, x.upper * y.lower, x.upper * y.upper]
        low, high = corners[0], corners[0]
        for corner in corners[1:]:
            low, high = xp.minimum(low, corner), xp.maximum(high, corner)
        widen, least = 2 * xp.unit_roundoff, xp.least_normal
        return Box(low - widen * abs(low) - least, high + widen * abs(high) + least)

    def sensitivity(
        self, positive: Float[Array, "batch m"], negative: Float[Array, "batch m"], *boxes: Box
    ) -> tuple[Float[Array, "batch n"], ...]:
        # The gap between McCormick's planes is the product of the two half-widths.
        weight = (positive + negative) / 2
        x, y = boxes
        return weight * (y.upper - y.lower), weight * (x.upper - x.lower)

    def bend(self, relaxation: Relaxation, *boxes: Box) -> Relaxation:
        if not isinstance(relaxation, Planes):
            return relaxation
        x, y = boxes
        return Corners(
            relaxation,
            tuple((b.lower + b.upper) / 2 for b in (x, y)),
            tuple((b.upper - b.lower) / 2 for b in (x, y)),
        )

    def relax(self, *boxes: Box) -> Planes:
        x, y = boxes
        xp = self.xp
        below = ((y.lower + y.upper) / 2, (x.lower + x.upper) / 2)
        lower_offset = -(x.lower * y.lower + x.upper * y.upper) / 2
        upper_offset = -(x.lower * y.upper + x.upper * y.lower) / 2
        # Every rounding here, and of the rows that use the planes, is relative to |x||y|.
        rounding = gamma(min(self.size, xp.dot_terms) + 24, xp.unit_roundoff)
        noise = 6 * rounding * x.magnitude(xp) * y.magnitude(xp) + 16 * xp.least_normal
        return Planes(xp, below, below, lower_offset, upper_offset, noise)


@dataclass(frozen=True, eq=False)
class Corners(Relaxation):
    """McCormick's two planes on each side, which a tilt t mixes: 1/2 is their mean.

    With s = 2 t - 1 the line of nu x y has nu s r_x (y - y') + |nu| s r_y (x - x') more than the
    mean, r being half-widths and ' the centres.
    """

    mean: Planes
    centres: tuple[Float[Array, "batch m"], ...]
    radii: tuple[Float[Array, "batch m"], ...]

    def middle_tilt(self) -> Float[Array, "batch m"]:
        return self.centres[0] * 0 + 0.5

    def pull_back(
        self, rows: Float[Array, "rows m"], owner: Owner, tilt: Float[Array, "rows m"] | None
    ) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
        xp, ((left, right), constant) = self.mean.xp, self.mean.pull_back(rows, owner, None)
        if tilt is None:
            return (left, right), constant
        turn = 2 * tilt - 1
        first = abs(rows) * turn * owner.spread(self.radii[1])
        second = rows * turn * owner.spread(self.radii[0])
        constant = constant - xp.row_dot(first, owner.spread(self.centres[0]))
        constant = constant - xp.row_dot(second, owner.spread(self.centres[1]))
        # What the two terms, and their products with the centres, are off by.
        constant = constant - xp.row_dot(abs(rows), owner.spread(self.mean.noise))
        return (left + first, right + second), constant

    def _turned(self, rows: Array, owner: Owner, inputs: tuple[Array, ...]) -> Array:
        """What a turn s of 1 adds to the line, times |nu|."""
        dx, dy = (x - owner.spread(c) for x, c in zip(inputs, self.centres, strict=True))
        return (
            abs(rows) * owner.spread(self.radii[1]) * dx + rows * owner.spread(self.radii[0]) * dy
        )

    def push_forward(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows m"] | None,
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows m"]:
        value = self.mean.push_forward(rows, owner, None, inputs)
        if tilt is None:
            return value
        one = self.mean.xp.full((1,), 1.0)
        sign = self.mean.xp.where(rows >= 0, one, -one)
        return value + (2 * tilt - 1) * sign * self._turned(sign, owner, inputs)

    def steer(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows m"],
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows m"]:
        return 2 * self._turned(rows, owner, inputs)

    def take(self, index: Array) -> Corners:
        first, second = (tuple(x[index] for x in pair) for pair in (self.centres, self.radii))
        return Corners(self.mean.take(index), first, second)
