"""Elementwise rules y_i = phi(x_i): rigorous intervals, lines, and intercepts for any slope."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from verifier.checker.arithmetic import TINY, TINY32, UNIT, UNIT32, Floats
from verifier.checker.errors import Unsupported

Pair = tuple[Floats, Floats]


class Atom(ABC):
    """y_i = phi(x_i) on finite boxes lower <= x <= upper; all arrays of a call have one shape."""

    arity: int = 1
    """How many numbers it reads for each of its own (``groups``)."""
    tilted: bool = False
    """Whether there is a family of lower lines through a kink, slopes ``leak`` to 1."""
    leak: float = 0.0

    @abstractmethod
    def interval(self, lower: Floats, upper: Floats) -> Pair:
        """lo <= phi(x) <= hi for all x of the box."""

    @abstractmethod
    def lines(self, lower: Floats, upper: Floats) -> Pair:
        """Slopes of a good line below phi and of one above; any slopes are sound."""

    @abstractmethod
    def intercept(self, nu: Floats, multiplier: Floats, lower: Floats, upper: Floats) -> Floats:
        """At most the minimum over the box of nu phi(x) - multiplier x, for any nu, multiplier."""

    def error32(self, lower: Floats, upper: Floats) -> Floats:
        """At least |float32 execution - phi(x)| for float32 x of the box."""
        return lower * 0


def lowered(value: Floats, size: Floats) -> Floats:
    """At most the exact nu p - A x that ``value`` approximates, for size >= |nu p| + |A x|.

    p = phi(x) may be off by u |p|: at most 3 roundings of each term, one of this subtraction and
    a few of ``size`` itself, so 8 u is more than enough; TINY covers underflows.
    """
    return value if value.dtype == object else value - (8 * UNIT * size + TINY)


def numeral(x: float, like: Floats) -> Any:
    return Fraction(x) if like.dtype == object else float(x)


def ratio(numerator: Floats, denominator: Floats, otherwise: Floats) -> Floats:
    """numerator / denominator where denominator > 0."""
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1), otherwise)


class Relu(Atom):
    """phi(x) = max(x, 0)."""

    tilted = True

    def interval(self, lower: Floats, upper: Floats) -> Pair:
        """Exact."""
        return np.maximum(lower, numeral(0.0, lower)), np.maximum(upper, numeral(0.0, upper))

    def lines(self, lower: Floats, upper: Floats) -> Pair:
        """Below: the larger side's slope. Above: the chord; its own slope where it is linear."""
        zero = lower * 0
        below = np.where(upper > -lower, zero + 1, zero)
        crossing = (lower < 0) & (upper > 0)
        return below, ratio(upper, np.where(crossing, upper - lower, zero), below)

    def intercept(self, nu: Floats, multiplier: Floats, lower: Floats, upper: Floats) -> Floats:
        """nu relu(x) - A x is linear on both sides of 0: its minimum is at an end or at 0."""
        zero = numeral(0.0, nu)
        high = np.maximum(upper, zero)
        size = abs(multiplier) * np.maximum(-lower, high)
        at_upper = nu * high
        size += abs(at_upper)
        at_upper -= multiplier * upper
        least = nu * np.maximum(lower, zero)
        least -= multiplier * lower
        np.minimum(least, at_upper, out=least)
        np.minimum(least, zero, out=least, where=(lower < zero) & (upper > zero))
        return lowered(least, size)


class Piecewise(Atom):
    """A continuous function that is linear between its kinks; ``value`` rounds at most once."""

    def __init__(self, value: Callable[[Floats], Floats], kinks: list[float], slope: float) -> None:
        """``slope`` is 1, or of the one part whose values are rounded."""
        self.value, self.kinks, self.slope = value, kinks, slope

    def _points(self, lower: Floats, upper: Floats) -> list[Pair]:
        """x, phi(x) at the ends and the kinks, moved into the box: where pieces are extreme."""
        kinks = [numeral(k, lower) for k in self.kinks]
        inner = [np.minimum(np.maximum(lower, k), upper) for k in kinks]
        return [(x, self.value(x)) for x in (lower, *inner, upper)]

    def interval(self, lower: Floats, upper: Floats) -> Pair:
        """The extreme values, outward by one unit where they are rounded."""
        values = [y for _, y in self._points(lower, upper)]
        low, high = np.minimum.reduce(values), np.maximum.reduce(values)
        if self.slope == 1 or low.dtype == object:
            return low, high
        return np.nextafter(low, -np.inf), np.nextafter(high, np.inf)

    def intercept(self, nu: Floats, multiplier: Floats, lower: Floats, upper: Floats) -> Floats:
        """The least at the ends and kinks, each lowered by its own rounding."""
        results: list[Floats] = []
        for x, y in self._points(lower, upper):
            first, second = nu * y, multiplier * x
            results.append(lowered(first - second, abs(first) + abs(second)))
        return np.minimum.reduce(results)

    def lines(self, lower: Floats, upper: Floats) -> Pair:
        """Of the lines through two of the points, those nearest phi in the middle of the box."""
        return self._highest(lower, upper, 1), self._highest(lower, upper, -1)

    def _highest(self, lower: Floats, upper: Floats, sign: int) -> Floats:
        points, values = zip(*self._points(lower, upper), strict=True)
        values = [sign * y for y in values]
        best = top = lower * 0
        for i, j in combinations(range(len(points)), 2):
            slope = ratio(values[j] - values[i], points[j] - points[i], best)
            rests = [v - slope * x for v, x in zip(values, points, strict=True)]
            height = slope * ((lower + upper) / 2) + np.minimum.reduce(rests)
            better = (height > top) | (j == 1)
            best, top = np.where(better, slope, best), np.where(better, height, top)
        return sign * best

    def error32(self, lower: Floats, upper: Floats) -> Floats:
        """One rounding of slope x; a little more for those of this product."""
        if self.slope == 1:
            return lower * 0
        return np.maximum(abs(lower), abs(upper)) * abs(self.slope) * (1.001 * UNIT32) + TINY32


class Floor(Piecewise):
    """phi(x) = the greatest whole number <= x."""

    def __init__(self) -> None:
        super().__init__(np.floor, [], 1.0)

    def _points(self, lower: Floats, upper: Floats) -> list[Pair]:
        """The ends, and what phi comes from and goes to at the first and the last of its jumps.

        At the jumps between them phi - A x is linear in the number of the jump. Beyond 2^50, where
        the next whole number may be no float, nothing is known.
        """
        if lower.dtype == object:
            raise Unsupported("exact arithmetic has no rule for Floor")
        far = np.where(np.maximum(abs(lower), abs(upper)) < 2.0**50, 0.0, np.nan)
        low, high = np.floor(lower) + far, np.floor(upper) + far
        jumps = low < high
        first, last = np.where(jumps, low + 1, upper), np.where(jumps, high, lower)
        return [
            (lower, low),
            (first, low),
            (first, np.where(jumps, low + 1, low)),
            (last, np.where(jumps, high - 1, low)),
            (last, high),
            (upper, high),
        ]


def leaky_relu(slope: float) -> Piecewise:
    """phi(x) = x where x > 0, slope x elsewhere."""
    result = Piecewise(lambda x: np.where(x > 0, x, numeral(slope, x) * x), [0.0], slope)
    result.leak = slope
    return result


def absolute() -> Piecewise:
    """phi(x) = |x|."""
    return Piecewise(abs, [0.0], 1.0)


def clip(low: float, high: float) -> Piecewise:
    """phi(x) = min(max(x, low), high), low <= high; either may be infinite."""

    def value(x: Floats) -> Floats:
        x = np.maximum(x, numeral(low, x)) if low > -np.inf else x
        return np.minimum(x, numeral(high, x)) if high < np.inf else x

    return Piecewise(value, [k for k in (low, high) if abs(k) < np.inf], 1.0)
