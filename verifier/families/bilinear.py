"""Products of two values."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.families.nonlinear import Nonlinear
from verifier.families.relaxation import Planes
from verifier.sets import Box
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
