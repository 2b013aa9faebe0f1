"""Piecewise linear functions of one variable, with jumps perhaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from verifier.families.cornered import Corner, Cornered, Straight, zeros_like
from verifier.families.elementwise import times_finite
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Backend, Bool, Float

INFINITY = float("inf")
LEAST_RAMP = 0.02
"""The shortest ramp that stands for a jump, as a share of the longest."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PiecewiseLinear(Cornered):
    """y = slopes_j x + offsets_j between ``kinks[j - 1]`` and ``kinks[j]``; ``values_j`` at kink j.

    Constants are ``[pieces, n]``, or ``[pieces, 1]`` for the same function everywhere. Where the
    pieces do not meet there is a jump: lines and intervals hold for both one-sided limits, where
    the box has them, and for the value at the kink.
    """

    kinks: Array
    bends: Array
    """The slopes of the pieces."""
    offsets: Array
    values: Array
    fuzz: Array
    """How far each kink may be from where it should be."""
    jumps: Array
    """1 where the function jumps at a kink."""
    exact: Array
    """Which pieces are computed without rounding."""
    roundoff: float = 0.0
    """The relative error of the constants."""

    @staticmethod
    def of(
        size: int,
        kinks: Sequence[Any],
        slopes: Sequence[Any],
        offsets: Sequence[Any],
        values: Sequence[Any] | None = None,
    ) -> PiecewiseLinear:
        """From float64 constants for each piece: numbers, or vectors of the given length.

        Without ``values`` the function is continuous, and its kinks may carry a few roundings.
        """

        def table(parts: Sequence[Any]) -> np.ndarray:
            rows = [np.broadcast_to(np.float64(x).reshape(-1), (size,)) for x in parts]
            return np.stack(rows) if rows else np.zeros((0, size))

        k, s, t = table(kinks), table(slopes), table(offsets)
        left, right = s[:-1] * k + t[:-1], s[1:] * k + t[1:]
        v = right if values is None else table(values)
        if size and all((x == x[:, :1]).all() for x in (k, s, t, v)):
            k, s, t, v, left, right = (x[:, :1] for x in (k, s, t, v, left, right))
        jumps = (left != v) | (right != v) if values is not None else np.zeros(k.shape)
        return PiecewiseLinear(
            sizes=(size,),
            size=size,
            kinks=k,
            bends=s,
            offsets=t,
            values=v,
            fuzz=8 * 2.0**-53 * abs(k) * (values is None),
            jumps=jumps.astype(np.float64),
            exact=((s == 0) | ((abs(s) == 1) & (t == 0))).astype(np.float64),
        )

    def on(self, backend: Backend) -> Self:
        placed = super().on(backend)
        if backend.dtype == "float64":
            return placed
        unit = 2 * backend.unit_roundoff
        if not _fits(self.kinks):
            fuzz = backend.floats(2 * self.fuzz + unit * abs(self.kinks))
            placed = replace(placed, fuzz=fuzz)
        if not _fits(self.bends, self.offsets, self.values):
            exact = backend.floats(0 * self.exact)
            placed = replace(placed, exact=exact, roundoff=unit)
        return placed

    @property
    def stepped(self) -> bool:
        return bool((self.jumps > 0).any())

    def _piece(self, j: int, x: Array) -> Array:
        return times_finite(self.bends[j], x, self.xp) + self.offsets[j]

    def _error(self, j: int, x: Array) -> Array:
        """The rounding of a piece's value at finite x; 0 at infinite ones."""
        xp = self.xp
        size = abs(times_finite(self.bends[j], x, xp)) + abs(self.offsets[j])
        error = (4 * xp.unit_roundoff + 2 * self.roundoff) * size + 4 * xp.least_normal
        inexact = (self.exact[j] == 0) & xp.function("isfinite", error)
        return xp.where(inexact, error, xp.zeros(1))

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        x = inputs[0]
        y = self.bends[0] * x + self.offsets[0]
        for j, kink in enumerate(self.kinks):
            y = self.xp.where(x > kink, self.bends[j + 1] * x + self.offsets[j + 1], y)
            y = self.xp.where(x == kink, self.values[j], y)
        return y

    def derivative(self, x: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
        slope = self.bends[0] + x * 0
        for j, kink in enumerate(self.kinks):
            slope = self.xp.where(x >= kink, self.bends[j + 1], slope)
        return slope

    def guide(
        self, rows: Float[Array, "batch m"], *inputs: Float[Array, "batch n"]
    ) -> tuple[Float[Array, "batch n"], ...]:
        """Jumps count as ramps (straight-through estimation, Bengio et al. 2013).

        Each point has ramps of its own length, from the usual distance of its entries to the kink
        down to a small share of it: which helps depends on how far an attack has come.
        """
        (x,) = inputs
        slope = self.derivative(x)
        if not self.stepped:
            return (rows * slope,)
        xp = self.xp
        share = xp.floats(np.geomspace(1.0, LEAST_RAMP, x.shape[0]))[:, None]
        for j, kink in enumerate(self.kinks):
            jump = self._piece(j + 1, kink) - self._piece(j, kink)
            distance = abs(x - kink)
            length = share * distance.sum(1)[:, None] / self.size + xp.tiny
            slope = slope + jump * xp.floats(distance <= length) / (2 * length)
        return (rows * slope,)

    def _meets(self, box: Box) -> list[Array]:
        """For each piece: does the box hold points of its open interval?"""
        count = self.bends.shape[0]
        meets = []
        for j in range(count):
            inside = box.lower <= box.upper
            if j > 0:
                inside = inside & (box.upper > self.kinks[j - 1] - self.fuzz[j - 1])
            if j < count - 1:
                inside = inside & (box.lower < self.kinks[j] + self.fuzz[j])
            meets.append(inside)
        return meets

    def straight(self, box: Box) -> Straight:
        xp, meets = self.xp, self._meets(box)
        known = box.lower <= box.upper
        nowhere, whole = known & ~known, known
        for j in range(self.kinks.shape[0]):
            touches = (box.lower <= self.kinks[j] + self.fuzz[j]) & (
                box.upper >= self.kinks[j] - self.fuzz[j]
            )
            whole = whole & ~(touches & (self.jumps[j] > 0))
        where, none = nowhere, xp.zeros(1) * xp.floats(nowhere)
        slope, offset, exact = none, none, none
        for j, mine in enumerate(meets):
            here = whole & mine
            for i, other in enumerate(meets):
                here = here & ~other if i != j else here
            where = where | here
            slope = xp.where(here, self.bends[j], slope)
            offset = xp.where(here, self.offsets[j], offset)
            exact = xp.where(here, self.exact[j], exact)
        return Straight(where, slope, offset, exact > 0)

    def corners(self, box: Box) -> Sequence[Corner]:
        ends = [self._end(x, box) for x in (box.lower, box.upper)]
        return [ends[0], *(self._kink(j, box) for j in range(self.kinks.shape[0])), ends[1]]

    def _end(self, x: Array, box: Box) -> Corner:
        """An end of the box, in the open interval of some piece."""
        last = self.bends.shape[0] - 1
        parts = []
        for j in range(last + 1):
            inside = ~self.xp.function("isnan", x)
            if j > 0:
                inside = inside & (x > self.kinks[j - 1] - self.fuzz[j - 1])
            if j < last:
                inside = inside & (x < self.kinks[j] + self.fuzz[j])
            parts.append((inside, self._piece(j, x), self._error(j, x)))
        return self._corner(x, zeros_like(x, self.xp), parts)

    def _kink(self, j: int, box: Box) -> Corner:
        """A kink, with those of its one-sided limits and its own value that the box has."""
        xp, fuzz = self.xp, self.fuzz[j]
        kink = xp.where(box.lower == box.lower, self.kinks[j], box.lower)
        reaches, begins = box.upper >= kink - fuzz, box.lower <= kink + fuzz
        size = abs(self.values[j])
        parts = [
            (reaches & (box.lower < kink + fuzz), self._piece(j, kink), self._error(j, kink)),
            (
                begins & (box.upper > kink - fuzz),
                self._piece(j + 1, kink),
                self._error(j + 1, kink),
            ),
            (reaches & begins, self.values[j], 2 * self.roundoff * size),
        ]
        steep = abs(self.bends[j]) + abs(self.bends[j + 1])
        corner = self._corner(kink, fuzz + zeros_like(kink, xp), parts)
        return replace(corner, error=corner.error + 2 * steep * fuzz)

    def _corner(self, place: Array, fuzz: Array, parts: Sequence[tuple[Array, Any, Any]]) -> Corner:
        xp = self.xp
        there, error = parts[0][0] & ~parts[0][0], xp.zeros(1)
        least, greatest = xp.zeros(1), xp.zeros(1)
        for mask, value, extra in parts:
            least = xp.where(mask, xp.where(there, xp.minimum(least, value), value), least)
            greatest = xp.where(mask, xp.where(there, xp.maximum(greatest, value), value), greatest)
            error = xp.where(mask, xp.maximum(error, extra), error)
            there = there | mask
        return Corner(there, place, least, greatest, error, fuzz)

    def unstable(self, which: int, box: Box) -> Bool[Array, "batch n"]:
        return ~self.straight(box).where & (box.upper > box.lower)

    def split_point(self, box: Box) -> Array:
        """The kink nearest to the middle, or the middle where none is inside."""
        xp = self.xp
        middle = box.lower / 2 + box.upper / 2
        best = middle
        distance = xp.full((1,), INFINITY)
        for kink in self.kinks:
            inside = (box.lower < kink) & (kink < box.upper)
            nearer = inside & (abs(kink - middle) < distance)
            best, distance = (
                xp.where(nearer, kink, best),
                xp.where(nearer, abs(kink - middle), distance),
            )
        return best


def _fits(*constants: np.ndarray) -> bool:
    """Are all of these float32 numbers?"""
    return all(bool((x.astype(np.float32) == x).all()) for x in constants)
