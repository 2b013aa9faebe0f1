"""Elementwise rules y_i = phi(x_i): rigorous intervals, lines, and intercepts for any slope."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from math import factorial
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
    """Whether there is a family of lower lines through a kink, slopes 0 to 1."""

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


def _number(x: float, like: Floats) -> Any:
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
        return np.maximum(lower, _number(0.0, lower)), np.maximum(upper, _number(0.0, upper))

    def lines(self, lower: Floats, upper: Floats) -> Pair:
        """Below: the larger side's slope. Above: the chord; its own slope where it is linear."""
        zero = lower * 0
        below = np.where(upper > -lower, zero + 1, zero)
        crossing = (lower < 0) & (upper > 0)
        return below, ratio(upper, np.where(crossing, upper - lower, zero), below)

    def intercept(self, nu: Floats, multiplier: Floats, lower: Floats, upper: Floats) -> Floats:
        """nu relu(x) - A x is linear on both sides of 0: its minimum is at an end or at 0."""
        zero = _number(0.0, nu)
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

    def _points(self, lower: Floats, upper: Floats) -> list[Floats]:
        """The ends and the kinks, moved into the box: pieces are least and greatest there."""
        kinks = [_number(k, lower) for k in self.kinks]
        return [lower, *(np.minimum(np.maximum(lower, k), upper) for k in kinks), upper]

    def interval(self, lower: Floats, upper: Floats) -> Pair:
        """The extreme values, outward by one unit where they are rounded."""
        values = [self.value(x) for x in self._points(lower, upper)]
        low, high = np.minimum.reduce(values), np.maximum.reduce(values)
        if self.slope == 1 or low.dtype == object:
            return low, high
        return np.nextafter(low, -np.inf), np.nextafter(high, np.inf)

    def intercept(self, nu: Floats, multiplier: Floats, lower: Floats, upper: Floats) -> Floats:
        """The least at the ends and kinks, each lowered by its own rounding."""
        results: list[Floats] = []
        for x in self._points(lower, upper):
            first, second = nu * self.value(x), multiplier * x
            results.append(lowered(first - second, abs(first) + abs(second)))
        return np.minimum.reduce(results)

    def lines(self, lower: Floats, upper: Floats) -> Pair:
        """Of the lines through two of the points, those nearest phi in the middle of the box."""
        return self._highest(lower, upper, 1), self._highest(lower, upper, -1)

    def _highest(self, lower: Floats, upper: Floats, sign: int) -> Floats:
        points = self._points(lower, upper)
        values = [sign * self.value(x) for x in points]
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


def leaky_relu(slope: float) -> Piecewise:
    """phi(x) = x where x > 0, slope x elsewhere."""
    return Piecewise(lambda x: np.where(x > 0, x, _number(slope, x) * x), [0.0], slope)


def absolute() -> Piecewise:
    """phi(x) = |x|."""
    return Piecewise(abs, [0.0], 1.0)


def clip(low: float, high: float) -> Piecewise:
    """phi(x) = min(max(x, low), high), low <= high; either may be infinite."""

    def value(x: Floats) -> Floats:
        x = np.maximum(x, _number(low, x)) if low > -np.inf else x
        return np.minimum(x, _number(high, x)) if high < np.inf else x

    return Piecewise(value, [k for k in (low, high) if abs(k) < np.inf], 1.0)


_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_BRACKET = 2.0**-47
"""64 units roundoff: more than the relative error of ``_sigmoid``."""
_FAR = 700.0


def exp_of_minus(t: Floats) -> Floats:
    """exp(-t) for 0 <= t <= 700, off by less than 57 u, relatively.

    With k = rint(t / ln 2) and r = t - k ln 2, exp(-t) = 2^-k exp(-r). The two parts of ln 2 sum
    to it within 2^-80 and the first has 33 bits, so k times it is exact; |r| < 0.3467, and its two
    subtractions and the second product round by less than 0.8 u together: relatively as much of
    exp(-r). The Taylor polynomial of degree 13 misses exp(-r) by less than 0.347^14 / 14! 1.42
    < 0.06 u; Horner's scheme (Higham 2002, section 5.1), with rounded coefficients, is off by at
    most gamma_27 exp(|r|) < 27.01 * 1.415 u. As exp(-r) > 0.706, 38.3 u / 0.706 + 0.8 u < 57 u.
    Scaling by a power of two is exact: exp(-700) is a normal number.
    """
    k = np.rint(t * 1.4426950408889634)
    r = (t - k * _LN2_HIGH) - k * _LN2_LOW
    total = r * 0
    for n in range(13, -1, -1):
        total = 1 / factorial(n) - r * total
    return np.ldexp(total, -k.astype(np.int64))


def _sigmoid(x: Floats) -> Floats:
    """s(x) = 1 / (1 + exp(-x)) for |x| <= 700, off by less than 60 u, relatively.

    e = exp(-|x|) is off by 57 u. e / (1 + e) and 1 / (1 + e) change relatively by at most as much
    as e does; the sum and the quotient are rounded: 59 u and terms of second order.
    """
    e = exp_of_minus(abs(x))
    return np.where(x > 0, 1.0, e) / (1 + e)


class SShape(Atom):
    """phi(x) = g s(g x) - (g - 1) for s(x) = 1 / (1 + exp(-x)): Sigmoid for g = 1, Tanh for g = 2.

    It increases, is convex where x <= 0, concave where x >= 0; phi' = g^2 s (1 - s).
    """

    def __init__(self, gain: int) -> None:
        self.gain = gain

    def bracket(self, x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Bounds of phi(x), below and above, then of phi'(x).

        Beyond 700 s is between 0 and s(-700), or s(700) and 1. g x, g s, g^2 s are exact;
        g s - 1 is rounded by at most u. s (1 - s), rounded twice, is least at an end and at most
        1/4.
        """
        if x.dtype == object:
            raise Unsupported("exact arithmetic has no rule for Sigmoid and Tanh")
        x = x * self.gain
        s = _sigmoid(np.clip(x, -_FAR, _FAR))
        low = np.where(x < -_FAR, 0.0, s * (1 - _BRACKET))
        high = np.minimum(s * (1 + _BRACKET), 1.0)
        slopes = low * (1 - low), high * (1 - high)
        most = np.where((low <= 0.5) & (high >= 0.5), 0.25, np.maximum(*slopes))
        square, shift, rounded = self.gain**2, self.gain - 1, (self.gain - 1) * UNIT
        return (
            np.maximum(self.gain * low - shift - rounded, -shift),
            np.minimum(self.gain * high - shift + rounded, 1.0),
            np.minimum(*slopes) * (1 - 8 * UNIT) * square,
            (most * (1 + 8 * UNIT) + TINY) * square,
        )

    def interval(self, lower: Floats, upper: Floats) -> Pair:
        """phi increases."""
        return self.bracket(lower)[0], self.bracket(upper)[1]

    def lines(self, lower: Floats, upper: Floats) -> Pair:
        """Tangents on the convex side, else chords; above by symmetry: phi(-x) = c - phi(x)."""
        return self._below(lower, upper), self._below(-upper, -lower)

    def _below(self, lower: Floats, upper: Floats) -> Floats:
        """The tangent's slope in the middle, or further left, so that it is below phi(upper)."""
        target, (start, _, steep, _) = self.bracket(upper)[0], self.bracket(lower)
        chord = ratio(target - start, upper - lower, steep)
        left, right = lower, np.minimum(upper, 0.0)
        for _ in range(12):
            touch = (left + right) / 2
            value, _, slope, _ = self.bracket(touch)
            passes_below = value + slope * (upper - touch) <= target
            left, right = np.where(passes_below, touch, left), np.where(passes_below, right, touch)
        slope = self.bracket(np.minimum(left, (lower + upper) / 2))[2]
        return np.where((lower >= 0) | (left <= lower), chord, slope)

    def intercept(self, nu: Floats, multiplier: Floats, lower: Floats, upper: Floats) -> Floats:
        """The least of g = nu phi - A x at both ends, and of a tangent where g is convex.

        Where g is concave its minimum is at an end of the piece: an end of the box, or 0, which
        is in the convex piece too. There g(x) >= g(t) + g'(t) (x - t) for any t of the piece.
        """
        rising = nu >= 0
        left = np.where(rising, lower, np.maximum(lower, 0.0))
        right = np.where(rising, np.minimum(upper, 0.0), upper)
        convex = left <= right
        with np.errstate(over="ignore"):
            slope = ratio(np.where(rising, multiplier, -multiplier), abs(nu), nu * 0)
        at = self._stationary(slope)
        at = np.clip(
            np.where(rising, at, -at), np.where(convex, left, lower), np.where(convex, right, upper)
        )
        ends = np.minimum(*(self._at(nu, multiplier, x) for x in (lower, upper)))
        low, high = (nu * slope - multiplier for slope in self.bracket(at)[2:])
        slack = 8 * UNIT * (abs(nu) * self.gain**2 + abs(multiplier)) + TINY
        falls = (np.maximum(low, high) + slack).clip(0) * (at - left)
        rises = (slack - np.minimum(low, high)).clip(0) * (right - at)
        drop = np.maximum(falls, rises) * (1 + 8 * UNIT) + TINY
        tangent = self._at(nu, multiplier, at) - drop
        return np.where(convex, np.minimum(ends, tangent - 4 * UNIT * abs(tangent)), ends)

    def _stationary(self, slope: Floats) -> Floats:
        """Roughly the x <= 0 with phi'(x) = slope: a good place for the tangent."""
        slope = np.clip(slope / self.gain**2, 1e-300, 0.25)
        s = 2 * slope / (1 + np.sqrt(1 - 4 * slope))
        return np.log(s / (1 - s)) / self.gain

    def _at(self, nu: Floats, multiplier: Floats, x: Floats) -> Floats:
        low, high, _, _ = self.bracket(x)
        size = abs(nu) * np.maximum(abs(low), abs(high)) + abs(multiplier * x)
        return lowered(np.where(nu >= 0, nu * low, nu * high) - multiplier * x, size)

    def error32(self, lower: Floats, upper: Floats) -> Floats:
        """Assumed of the runtime: at most 8 units in the last place of 1; ONNX Runtime has 2.6."""
        return np.full_like(lower, 2.0**-20)
