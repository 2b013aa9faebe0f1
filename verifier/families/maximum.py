"""Maxima over groups of values."""

from __future__ import annotations

import math

import numpy as np

from verifier.families.nonlinear import Nonlinear
from verifier.families.relaxation import Relaxation
from verifier.records import dataclass
from verifier.sets import Box, Owner
from verifier.tensors import Array, Backend, Bool, Float, gamma

FEW_MEMBERS, MANY_MAXIMA = 9, 4096
"""So many members of so many groups are compared one after another, which costs half of what
gathering all of them does."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Maximum(Nonlinear):
    """y_j = max_k x[index_jk].

    Below: the member with the greatest lower bound. Above: with i the member of the greatest upper
    bound and r the greatest upper bound of the others, y <= max(x_i, r), whose chord over
    [l_i, u_i] is a line in x_i (the constant u_i where r >= u_i; x_i itself where r <= l_i).
    """

    index: Array
    """[m, k]; groups with fewer members repeat one of them."""

    @staticmethod
    def of(index: np.ndarray, size_in: int) -> Maximum:
        """From an index table [m, k] (-1: no member there)."""
        member = index.max(axis=1, keepdims=True)
        table = np.where(index >= 0, index, member).astype(np.int64)
        return Maximum(sizes=(size_in,), size=len(index), index=table)

    @property
    def contracts(self) -> bool:
        return True

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        x, xp = inputs[0], self.xp
        if self.index.shape[1] > FEW_MEMBERS or x.shape[0] * self.size < MANY_MAXIMA:
            return xp.amax(x[:, self.index], -1)
        best = xp.columns(x, self.index[:, 0])
        for k in range(1, self.index.shape[1]):
            best = xp.maximum(best, xp.columns(x, self.index[:, k]))
        return best

    def partials(self, *inputs: Float[Array, "batch n"]) -> tuple[tuple[Array, Array | None], ...]:
        chosen = self._pick(inputs[0][:, self.index].argmax(-1), inputs[0].shape[0])
        return ((self.xp.floats(chosen >= 0), chosen),)

    def interval(self, *boxes: Box) -> Box:
        (box,) = boxes
        return Box(self.evaluate(box.lower), self.evaluate(box.upper))

    def unstable(self, which: int, box: Box) -> Bool[Array, "batch n"]:
        """The members of groups without a dominant one (which never falls below another's best)."""
        xp = self.xp
        lower, upper = box.lower[:, self.index], box.upper[:, self.index]
        best = xp.amax(lower, -1)
        rivals = (upper > best[:, :, None]).sum(-1)
        contested = xp.floats((rivals > 1)[:, :, None] & (upper > best[:, :, None]))
        batch, count = box.lower.shape[0], self.sizes[0]
        flat = contested.reshape(batch, math.prod(self.index.shape))
        index = self.index.reshape(1, -1) + xp.ints(xp.zeros(batch, 1))
        return xp.scatter_rows(flat, index, count) > 0

    def sensitivity(
        self, positive: Float[Array, "batch m"], negative: Float[Array, "batch m"], *boxes: Box
    ) -> tuple[Float[Array, "batch n"], ...]:
        (box,) = boxes
        xp, batch = self.xp, box.lower.shape[0]
        spread = (positive + negative)[:, :, None] + xp.zeros(1, 1, self.index.shape[1])
        index = self.index.reshape(1, -1) + xp.ints(xp.zeros(batch, 1))
        flat = spread.reshape(batch, math.prod(self.index.shape))
        total = xp.scatter_rows(flat, index, self.sizes[0])
        return (xp.where(self.unstable(0, box), total, total * 0),)

    def _pick(self, k: Array, batch: int) -> Array:
        table = self.index[None, :, :] + self.xp.ints(self.xp.zeros(batch, 1, 1))
        return self.xp.take_along(table, k[:, :, None], 2)[:, :, 0]

    def relax(self, *boxes: Box) -> Relaxation:
        (box,) = boxes
        xp = self.xp
        lower, upper = box.lower[:, self.index], box.upper[:, self.index]
        batch = box.lower.shape[0]
        lowest = self._pick(lower.argmax(-1), batch)
        top = upper.argmax(-1)
        highest = self._pick(top, batch)
        others = self.index[None, :, :] != highest[:, :, None]
        rest = xp.amax(xp.where(others, upper, xp.full((1,), -float("inf"))), -1)
        low = xp.take_along(lower, top[:, :, None], 2)[:, :, 0]
        high = xp.take_along(upper, top[:, :, None], 2)[:, :, 0]
        floor = xp.minimum(xp.maximum(low, rest), high)
        one = xp.full((1,), 1.0)
        wide = high > low
        slope = xp.where(wide, (high - floor) / xp.where(wide, high - low, one), xp.zeros(1))
        magnitude = xp.maximum(abs(low), abs(high))
        error = 16 * xp.unit_roundoff * xp.maximum(magnitude, abs(floor))
        exact = (rest <= low) & wide
        offset = xp.where(exact, xp.zeros(1), floor - slope * low + error)
        slope = xp.where(exact, one, slope)
        rounding = gamma(min(self.size, xp.dot_terms) + 16, xp.unit_roundoff)
        most = xp.amax(box.magnitude(xp)[:, self.index], -1)
        noise = rounding * (3 * most + abs(offset)) + 16 * xp.least_normal
        return Champions(xp, self.sizes[0], lowest, highest, slope, offset, noise)


@dataclass(frozen=True, eq=False)
class Champions(Relaxation):
    """x[lowest] <= y <= slope x[highest] + offset."""

    xp: Backend
    size_in: int
    lowest: Array
    highest: Array
    slope: Array
    offset: Array
    noise: Array

    def pull_back(
        self, rows: Float[Array, "rows m"], owner: Owner, tilt: Float[Array, "rows m"] | None
    ) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
        xp = self.xp
        positive = rows.clip(min=0)
        negative = (rows - positive) * owner.spread(self.slope)
        below = xp.scatter_rows(
            positive, self._spread_index(self.lowest, owner, rows), self.size_in
        )
        above = xp.scatter_rows(
            negative, self._spread_index(self.highest, owner, rows), self.size_in
        )
        constant = xp.row_dot(rows, owner.spread(self.offset + self.noise))
        constant = constant - xp.row_dot(positive, owner.spread(self.offset + 2 * self.noise))
        return (below + above,), constant

    def _spread_index(self, index: Array, owner: Owner, rows: Array) -> Array:
        spread = owner.spread(index)
        if spread.shape[0] == rows.shape[0]:
            return spread
        return spread + self.xp.ints(self.xp.zeros(rows.shape[0], 1))

    def push_forward(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows m"] | None,
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows m"]:
        xp, x = self.xp, inputs[0]
        below = xp.take_along(x, self._spread_index(self.lowest, owner, rows), 1)
        above = xp.take_along(x, self._spread_index(self.highest, owner, rows), 1)
        above = owner.spread(self.slope) * above + owner.spread(self.offset)
        return xp.where(rows >= 0, below, above)

    def take(self, index: Array) -> Champions:
        parts = (self.lowest, self.highest, self.slope, self.offset, self.noise)
        return Champions(self.xp, self.size_in, *(x[index] for x in parts))
