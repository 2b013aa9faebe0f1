"""Rules y_i = phi(x_i1, ..., x_ik): products and maxima. They read k numbers for each of theirs.

The value that they read holds all first arguments, then all second ones, and so on: lower, upper
and multipliers are [batch, k m] where nu and results are [batch, m].
"""

from __future__ import annotations

import numpy as np

from verifier.checker.arithmetic import TINY, TINY32, UNIT, UNIT32, Floats
from verifier.checker.atoms import Atom, Pair, lowered, ratio


def _stacked(x: Floats, arity: int) -> Floats:
    """[k, batch, m]."""
    return x.reshape(len(x), arity, x.shape[1] // arity).swapaxes(0, 1)


def _flat(x: Floats) -> Floats:
    """[batch, k m] of [k, batch, m]."""
    return x.swapaxes(0, 1).reshape(x.shape[1], x.shape[0] * x.shape[2])


class Product(Atom):
    """x y, elementwise: bilinear, so extreme at the corners of a box."""

    arity = 2

    def _corners(self, lower: Floats, upper: Floats) -> list[tuple[Floats, Floats]]:
        (a, b), (c, d) = _stacked(lower, 2), _stacked(upper, 2)
        return [(x, y) for x in (a, c) for y in (b, d)]

    def interval(self, lower: Floats, upper: Floats) -> Pair:
        """The extreme products, outward by their rounding."""
        products = [x * y for x, y in self._corners(lower, upper)]
        least, most = np.minimum.reduce(products), np.maximum.reduce(products)
        return lowered(least, abs(least)), -lowered(-most, abs(most))

    def lines(self, lower: Floats, upper: Floats) -> Pair:
        """The mean of McCormick's planes: the slopes of each are the middle of the other."""
        middle = _stacked((lower + upper) / 2, 2)
        slopes = _flat(middle[::-1])
        return slopes, slopes

    def intercept(self, nu: Floats, multiplier: Floats, lower: Floats, upper: Floats) -> Floats:
        """nu x y - a x - b y at the corners: two roundings of the first term, one of the others."""
        a, b = _stacked(multiplier, 2)
        results: list[Floats] = []
        for x, y in self._corners(lower, upper):
            terms = nu * x * y, a * x, b * y
            size = abs(terms[0]) + abs(terms[1]) + abs(terms[2])
            results.append(lowered(terms[0] - terms[1] - terms[2], size))
        return np.minimum.reduce(results)

    def error32(self, lower: Floats, upper: Floats) -> Floats:
        """One rounding."""
        most = np.maximum.reduce([abs(x * y) for x, y in self._corners(lower, upper)])
        return most * (1.001 * UNIT32) + TINY32


class Maximum(Atom):
    """The greatest of k numbers, two at least."""

    def __init__(self, arity: int) -> None:
        self.arity = arity

    def interval(self, lower: Floats, upper: Floats) -> Pair:
        """Exact."""
        return _stacked(lower, self.arity).max(0), _stacked(upper, self.arity).max(0)

    def error32(self, lower: Floats, upper: Floats) -> Floats:
        """Exact."""
        return 0 * _stacked(lower, self.arity)[0]

    def _without(self, x: Floats, place: Floats) -> Floats:
        """The greatest of the others."""
        others = np.arange(self.arity)[:, None, None] != place
        kept = np.where(others, x, x.min(0) - 1)
        return kept.max(0)

    def lines(self, lower: Floats, upper: Floats) -> Pair:
        """Below: the member of the greatest lower bound. Above: a line in that of the greatest.

        Of the greatest upper bound: the chord of max(x, r), r the greatest one of the others.
        """
        low, high = _stacked(lower, self.arity), _stacked(upper, self.arity)
        members = np.arange(self.arity)[:, None, None]
        zero = 0 * low
        top = high.argmax(0)
        start = np.take_along_axis(low, top[None], 0)[0]
        stop = high.max(0)
        floor = np.maximum(start, self._without(high, top))
        slope = ratio(stop - floor, stop - start, zero[0] + 1)
        below = np.where(members == low.argmax(0), zero + 1, zero)
        return _flat(below), _flat(np.where(members == top, slope + zero, zero))

    def intercept(self, nu: Floats, multiplier: Floats, lower: Floats, upper: Floats) -> Floats:
        """At most the least of nu max(x) - A x.

        nu >= 0: max(x) >= x_j, j the member of the greatest multiplier; the rest is linear. nu < 0:
        max(x) <= max(x_h, r), h the member of the least multiplier, r the greatest upper bound of
        the others; what is left is concave in x_h and linear in the others.
        """
        a, low, high = (_stacked(x, self.arity) for x in (multiplier, lower, upper))
        members = np.arange(self.arity)[:, None, None]
        chosen = members == a.argmax(0)
        rest = np.where(chosen, nu - a, -a)
        ends = rest * low, rest * high
        rising = np.minimum(*ends).sum(0)
        size = np.maximum(*map(abs, ends)).sum(0)
        top = a.argmin(0)
        reach = self._without(high, top)
        others = np.where(members == top, 0 * a, a)
        drops = others * low, others * high
        fixed = np.maximum(*drops).sum(0)
        size = size + np.maximum(*map(abs, drops)).sum(0)
        line = np.take_along_axis(a, top[None], 0)[0]
        heights: list[Floats] = []
        for side in (low, high):
            x = np.take_along_axis(side, top[None], 0)[0]
            first, second = nu * np.maximum(x, reach), line * x
            heights.append(first - second - fixed)
            size = size + abs(first) + abs(second)
        value = np.where(nu >= 0, rising, np.minimum(*heights))
        if value.dtype == object:
            return value
        return value - ((8 + 2 * self.arity) * UNIT * size + self.arity * TINY)
