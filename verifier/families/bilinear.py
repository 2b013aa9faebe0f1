"""Products of two values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from verifier.families.nonlinear import Nonlinear
from verifier.families.operator import Part
from verifier.families.relaxation import Planes, Relaxation
from verifier.records import dataclass
from verifier.sets import Box, Owner
from verifier.tensors import Array, Backend, Bool, Float, gamma

NEGLIGIBLE = 1024
"""A box of so many roundings' width is a point as far as the products of its values go."""


TURN_NOISE = 4
"""Terms of turned planes are at most so many times as large as those of the mean."""


def of_square(half: Array, ratio: Array) -> Array:
    """half^2 / 4 ratio; neither the square nor a multiple of the ratio gets out of range."""
    return half / 2 * (half / 2 / ratio)


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

    def part(self, index: np.ndarray) -> Part | None:
        return Part(Product.of(len(index)), index, (index, index))

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
        centres = tuple(b.center for b in (x, y))
        rx, ry = (b.radius for b in (x, y))
        none = rx * 0
        corners = (_Turn(ry, rx, none), _Turn(ry, -rx, none))
        if isinstance(relaxation, Correlated):
            below, above = (
                corner.or_tangent(ratio, (sign, rx, ry), self.xp)
                for corner, ratio, sign in zip(corners, relaxation.ratios, (1, -1), strict=True)
            )
            corners = (below, above)
        return Turned(relaxation, centres, corners)

    def relax(self, *boxes: Box) -> Planes:
        x, y = boxes
        xp = self.xp
        below = (y.center, x.center)
        lower_offset = -(x.lower * y.lower + x.upper * y.upper) / 2
        upper_offset = -(x.lower * y.upper + x.upper * y.lower) / 2
        # Every rounding here, and of the rows that use the planes, is relative to |x||y|.
        rounding = gamma(min(self.size, xp.dot_terms) + 24, xp.unit_roundoff)
        noise = 6 * rounding * x.magnitude(xp) * y.magnitude(xp) + 16 * xp.least_normal
        return Planes(xp, below, below, lower_offset, upper_offset, noise)


@dataclass(frozen=True, eq=False, kw_only=True)
class Correlated(Planes):
    """The mean planes, closer together where factors are known to move with each other.

    With dx and dy the distances from the boxes' centres, and any ratio k > 0,

        4 k dx dy = (dx + k dy)^2 - (dx - k dy)^2,

    so that dx dy >= -g where g = max (dx - k dy)^2 / 4 k, and dx dy <= g with the other sign
    inside. McCormick's g is r_x r_y, at k = r_x / r_y of factors that have nothing to do with each
    other.
    """

    ratios: tuple[Float[Array, "batch m"], Float[Array, "batch m"]]
    """k of the plane below and of the plane above; 0 where the plane is McCormick's."""

    @staticmethod
    def of(
        mean: Planes, nearer: Sequence[Float[Array, "batch m"]], ratios: Sequence[Array]
    ) -> Correlated:
        """McCormick's mean planes, the lower and the upper one ``nearer`` by so much."""
        return Correlated(
            mean.xp,
            mean.below,
            mean.above,
            mean.lower_offset + nearer[0],
            mean.upper_offset - nearer[1],
            # The difference of two gaps, each at most |x||y|, was rounded a few times more.
            2 * mean.noise,
            ratios=(ratios[0], ratios[1]),
        )

    def take(self, index: Array) -> Correlated:
        planes = super().take(index)
        parts = {f.name: getattr(planes, f.name) for f in fields(planes)}
        return Correlated(**parts, ratios=(self.ratios[0][index], self.ratios[1][index]))


@dataclass(frozen=True, eq=False)
class _Turn:
    """What a turn s in [-1, 1] adds to a plane: s (first dx + second dy) - s^2 cost."""

    first: Float[Array, "batch m"]
    second: Float[Array, "batch m"]
    cost: Float[Array, "batch m"]

    def or_tangent(
        self, ratio: Float[Array, "batch m"], radii: tuple[int, Array, Array], xp: Backend
    ) -> _Turn:
        """The tangents of (sign dx + k dy)^2 / 4 k where there is a ratio k."""
        sign, rx, ry = radii
        there, one = ratio > 0, xp.full((1,), 1.0)
        k = xp.where(there, ratio, one)
        reach = rx + k * ry
        return _Turn(
            xp.where(there, sign * (reach / 2 / k), self.first),
            xp.where(there, reach / 2, self.second),
            xp.where(there, of_square(reach, k), self.cost),
        )

    def take(self, index: Array) -> _Turn:
        """The entries of some batch entries."""
        return _Turn(self.first[index], self.second[index], self.cost[index])


@dataclass(frozen=True, eq=False)
class Turned(Relaxation):
    """Planes that a tilt t of each row turns by s = 2 t - 1: t = 1/2 is the mean plane.

    McCormick's two planes on a side are at s = -1 and s = 1; between squares a turn moves the
    point where the tangent touches.
    """

    mean: Planes
    centres: tuple[Float[Array, "batch m"], ...]
    turns: tuple[_Turn, _Turn]
    """Of the plane below, and of the negated plane above."""

    def middle_tilt(self) -> Float[Array, "batch m"]:
        return self.centres[0] * 0 + 0.5

    def _turns(self, rows: Array, owner: Owner) -> tuple[Array, Array, Array]:
        """What a turn of 1 adds to the two coefficients, and what its square costs."""
        positive = rows.clip(min=0)
        negative = positive - rows
        first, second, cost = (
            positive * owner.spread(getattr(self.turns[0], name))
            + negative * owner.spread(getattr(self.turns[1], name))
            for name in ("first", "second", "cost")
        )
        return first, second, cost

    def pull_back(
        self, rows: Float[Array, "rows m"], owner: Owner, tilt: Float[Array, "rows m"] | None
    ) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
        xp, ((left, right), constant) = self.mean.xp, self.mean.pull_back(rows, owner, None)
        if tilt is None:
            return (left, right), constant
        turn = 2 * tilt - 1
        first, second, cost = self._turns(rows, owner)
        first, second = first * turn, second * turn
        constant = constant - xp.row_dot(first, owner.spread(self.centres[0]))
        constant = constant - xp.row_dot(second, owner.spread(self.centres[1]))
        constant = constant - xp.row_dot(cost, turn * turn)
        # What the terms, and their products with the centres, are off by.
        constant = constant - TURN_NOISE * xp.row_dot(abs(rows), owner.spread(self.mean.noise))
        return (left + first, right + second), constant

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
        first, second, cost = self._turns(sign, owner)
        dx, dy = (x - owner.spread(c) for x, c in zip(inputs, self.centres, strict=True))
        turn = 2 * tilt - 1
        return value + sign * turn * (first * dx + second * dy - turn * cost)

    def steer(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows m"],
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows m"]:
        first, second, cost = self._turns(rows, owner)
        dx, dy = (x - owner.spread(c) for x, c in zip(inputs, self.centres, strict=True))
        return 2 * (first * dx + second * dy - 2 * (2 * tilt - 1) * cost)

    def take(self, index: Array) -> Turned:
        below, above = (turn.take(index) for turn in self.turns)
        return Turned(self.mean.take(index), tuple(x[index] for x in self.centres), (below, above))
