"""Two neurons bounded together: what they read lies in an octagon, not anywhere in a box.

The bound of a row is a sum of terms, one for each neuron (``sure.py``): what its output and its
input cost at least, min (nu y - m s) over its box. Of a pair, both terms may have their minimum
where the pair never is. With bounds of s_i + s_j and s_i - s_j as well, the term of the pair is

    min nu_i y_i + nu_j y_j - m_i s_i - m_j s_j   over an octagon,

at least the sum of the two; for the best multipliers m this is the convex hull of both functions
over the octagon (Singh et al. 2019, kPoly; Mueller et al. 2022, PRIMA, for hulls of several
neurons). It is linear on each quadrant, and so least at a corner of the octagon, where a side
crosses an axis, or at the origin: 13 points, whatever the multipliers.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from verifier.records import dataclass
from verifier.tensors import Array, Backend, Float, Int

FAR = 1e30
"""What a point costs that is not on the sides that a pattern fixes."""
OFF = 2.0**-44
"""What points are off by at most, as a share of the greatest magnitudes: a few roundings of float64
are 2^-50."""


def _greatest(*parts: np.ndarray) -> np.ndarray:
    return np.max(parts, axis=0)


def _least(*parts: np.ndarray) -> np.ndarray:
    return np.min(parts, axis=0)


@dataclass(frozen=True, eq=False)
class Octagon:
    """Bounds of pairs: of both neurons' inputs, their sums, and their differences (float64)."""

    first: tuple[np.ndarray, np.ndarray]
    second: tuple[np.ndarray, np.ndarray]
    sum: tuple[np.ndarray, np.ndarray]
    difference: tuple[np.ndarray, np.ndarray]

    def tight(self) -> Octagon:
        """The same set, with every side touching it: all sums of two sides that say more."""
        (a, b), (c, d), (p, q), (r, t) = self.first, self.second, self.sum, self.difference
        first = _greatest(a, p - d, c + r, (p + r) / 2), _least(b, q - c, d + t, (q + t) / 2)
        second = _greatest(c, p - b, a - t, (p - t) / 2), _least(d, q - a, b - r, (q - r) / 2)
        (a, b), (c, d) = first, second
        sums = np.maximum(p, a + c), np.minimum(q, b + d)
        differences = np.maximum(r, a - d), np.minimum(t, b - c)
        return Octagon(first, second, sums, differences)

    def points(self) -> tuple[Float[np.ndarray, "pairs 13"], Float[np.ndarray, "pairs 13"]]:
        """Where a function that is linear on each quadrant is least: one of these.

        The ends of the four sides that are parallel to an axis, those of the octagon's cuts with
        the axes, and the origin. Corners between two other sides are on one of these of no length.
        """
        tight = self.tight()
        (a, b), (c, d), (p, q), (r, t) = tight.first, tight.second, tight.sum, tight.difference
        zero, ends = a * 0, list[tuple[np.ndarray, ...]]()
        for x in (a, b, zero):
            low, high = _greatest(c, p - x, x - t), _least(d, q - x, x - r)
            ends.append((x, low, x, high))
        for y in (c, d, zero):
            low, high = _greatest(a, p - y, r + y), _least(b, q - y, t + y)
            ends.append((low, y, high, y))
        sides = (p, -q, r, -t, a, -b, c, -d)
        there = [ends[k][m] <= ends[k][m + 2] + self.off for k, m in ((2, 1), (5, 0))]
        there.append(np.all([side <= self.off for side in sides], axis=0))
        x = np.stack([*(part for one in ends for part in one[::2]), zero], 1)
        y = np.stack([*(part for one in ends for part in one[1::2]), zero], 1)
        # Where the octagon does not meet an axis, or the origin, a corner stands in for them.
        for columns, met in zip(((4, 5), (10, 11), (12,)), there, strict=True):
            for k in columns:
                x[:, k] = np.where(met, x[:, k], x[:, 0])
                y[:, k] = np.where(met, y[:, k], y[:, 0])
        (low, high), (below, above) = self.first, self.second
        x = np.clip(x, low[:, None], high[:, None])
        return x, np.clip(y, below[:, None], above[:, None])

    @property
    def off(self) -> Float[np.ndarray, " pairs"]:
        """What points are off by at most."""
        reach = [np.maximum(abs(low), abs(high)) for low, high in (self.first, self.second)]
        return OFF * (reach[0] + reach[1])


@dataclass(frozen=True, eq=False)
class Pairs:
    """Disjoint pairs of a reduced network's neurons, and the points where their terms are least."""

    xp: Backend
    first: Int[Array, " pairs"]
    second: Int[Array, " pairs"]
    x: Float[Array, "pairs points"]
    """The input of the first neuron there, and below of the second."""
    y: Float[Array, "pairs points"]
    terms: Float[Array, "pairs points 4"]
    """What multiplies nu of both, and m of both."""
    off: Float[Array, " pairs"]
    """By how much the points may be off."""
    mask: Float[Array, " neurons"]
    """1 for the neurons of pairs."""

    @staticmethod
    def of(
        octagon: Octagon,
        neurons: tuple[np.ndarray, np.ndarray],
        leak: Float[np.ndarray, " neurons"],
        xp: Backend,
    ) -> Pairs:
        """Pairs of ``neurons`` (first, second), each of them in one at most."""
        first, second = neurons
        x, y = octagon.points()
        outputs = [np.maximum(s, leak[k][:, None] * s) for s, k in ((x, first), (y, second))]
        terms = np.stack([*outputs, -x, -y], 2)
        mask = np.zeros(len(leak))
        mask[first] = mask[second] = 1.0
        arrays = (xp.floats(part) for part in (x, y, terms, octagon.off, mask))
        return Pairs(xp, xp.ints(first), xp.ints(second), *arrays)

    @staticmethod
    def none(count: int, xp: Backend) -> Pairs:
        """No pairs, of so many neurons."""
        nothing = np.zeros(0)
        sides = nothing, nothing
        neurons = nothing.astype(np.int64), nothing.astype(np.int64)
        return Pairs.of(Octagon(sides, sides, sides, sides), neurons, np.zeros(count), xp)

    def on(self, xp: Backend) -> Pairs:
        """The same in another precision."""
        numpy = self.xp.numpy
        arrays = (self.x, self.y, self.terms, self.off, self.mask)
        floats = (xp.floats(xp.doubles(numpy(part))) for part in arrays)
        return Pairs(xp, xp.ints(numpy(self.first)), xp.ints(numpy(self.second)), *floats)

    @cached_property
    def both(self) -> Int[Array, " paired"]:
        """The neurons of pairs: all first ones, then all second ones."""
        return self.xp.cat([self.first, self.second], 0)

    def fixed(self, phase: Float[Array, "neurons batch"]) -> Fixed:
        """Where the signs of neurons of pairs are fixed."""
        ends = phase[self.first], phase[self.second]
        pair, column = self.xp.nonzero((ends[0] != 0) | (ends[1] != 0))
        off = self.off[pair][:, None]
        wrong = (ends[0][pair, column][:, None] * self.x[pair] < -off) | (
            ends[1][pair, column][:, None] * self.y[pair] < -off
        )
        return Fixed(pair, column, FAR * self.xp.floats(wrong))

    def least(
        self,
        nu: Float[Array, "neurons batch"],
        multiplier: Float[Array, "neurons batch"],
        fixed: Fixed,
    ) -> tuple[
        Float[Array, "pairs batch"], Float[Array, "pairs batch"], Float[Array, "pairs batch"]
    ]:
        """The terms of all pairs, and what both neurons of each read where they are least."""
        xp, ends = self.xp, (self.first, self.second)
        factors = [part[end][:, None] for part in (nu, multiplier) for end in ends]
        values = self.terms @ xp.cat(factors, 1)
        values[fixed.pair, :, fixed.column] += fixed.cost
        where = values.argmin(1)
        least = xp.take_along(values, where[:, None], 1)[:, 0]
        return least, xp.take_along(self.x, where, 1), xp.take_along(self.y, where, 1)


@dataclass(frozen=True, eq=False)
class Fixed:
    """Pairs of which a pattern fixes a sign: the pair, the pattern, and what points cost then."""

    pair: Int[Array, " fixed"]
    column: Int[Array, " fixed"]
    cost: Float[Array, "fixed points"]


def matched(
    alike: Float[np.ndarray, "n n"], weight: Float[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Neurons in pairs, those first that matter most and are most alike.

    The greedy matching of ``|alike| * min(weights)``: whoever are each other's best are a pair, and
    so on for the others.
    """
    score = abs(alike) * np.minimum(weight[:, None], weight[None, :])
    np.fill_diagonal(score, 0.0)
    score = np.where(np.isfinite(score), score, 0.0)
    rank, found = np.arange(len(weight)), list[np.ndarray]()
    while len(rank) > 1:
        best = score.argmax(1)
        mutual = (best[best] == rank) & (score[rank, best] > 0) & (rank < best)
        if not mutual.any():
            break
        one = np.flatnonzero(mutual)
        two = best[one]
        found.append(np.stack([one, two]))
        for taken in (one, two):
            score[taken] = 0.0
            score[:, taken] = 0.0
    pairs = np.concatenate([np.zeros((2, 0), dtype=np.int64), *found], 1)
    return pairs[0], pairs[1]
