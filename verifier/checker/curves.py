"""Smooth elementwise rules: functions that are convex or concave by turns, with proven brackets."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from math import factorial, pi

import numpy as np

from verifier.checker.arithmetic import TINY, TINY32, UNIT, UNIT32, Floats
from verifier.checker.atoms import Atom, Pair, lowered, ratio
from verifier.checker.errors import Unsupported

SAMPLES = 8
Bracket = tuple[Floats, Floats, Floats, Floats]
"""Bounds of phi(x), below and above, then of phi'(x)."""


def _around(value: Floats, error: float) -> Pair:
    """[value - e, value + e], e = error |value| and what underflow may add."""
    size = error * abs(value) + TINY
    return value - size, value + size


class Curve(Atom):
    """phi, convex on every other piece between bends; floats only."""

    convex_first = True
    lipschitz = 0.0
    """At least |phi'| near bends that are rounded; 0 if the bends are exact."""

    @abstractmethod
    def bracket(self, x: Floats) -> Bracket:
        """Bounds of phi and of phi' at floats x: NaN where phi is not defined."""

    @abstractmethod
    def stationary(self, slope: Floats, lower: Floats, upper: Floats) -> Floats:
        """Roughly the x in [lower, upper], a piece, with phi'(x) = slope; any number is sound."""

    def bends(self, lower: Floats, upper: Floats) -> list[Floats]:
        """Where pieces end, ascending, off by 4 u of their size at most if ``lipschitz`` > 0."""
        return []

    def convex(self, piece: int, lower: Floats) -> Floats:
        """Whether a piece is convex, for each box."""
        return np.full(lower.shape, self.convex_first == (piece % 2 == 0))

    def at(self, x: Floats) -> Bracket:
        """The bracket, which floats only have."""
        if x.dtype == object:
            raise Unsupported("exact arithmetic has no rule for curved functions")
        return self.bracket(x)

    def interval(self, lower: Floats, upper: Floats) -> Pair:
        """The least of phi and of -phi with no line to subtract."""
        one = 0 * lower + 1
        return self.intercept(one, 0 * one, lower, upper), -self.intercept(
            -one, 0 * one, lower, upper
        )

    def lines(self, lower: Floats, upper: Floats) -> Pair:
        """The slopes that support the envelopes of phi in the middle, by samples."""
        middle = (lower + upper) / 2
        low, high, least, most = self.at(middle)
        tangent, half = (least + most) / 2, (upper - lower) / 2
        steps = [k / SAMPLES for k in range(SAMPLES)]
        left = [lower + half * k for k in steps]
        right = [upper - half * k for k in steps]
        for bend in self.bends(lower, upper):
            left.append(np.clip(bend, lower, middle))
            right.append(np.clip(bend, middle, upper))
        values = [[(x, self.at(x)[0]) for x in side] for side in (left, right)]
        results: list[Floats] = []
        for sign in (1, -1):
            best, slope = sign * (low + high) / 2, tangent
            for x, y in values[0]:
                for other, height in values[1]:
                    chord = ratio(sign * (height - y), other - x, np.full_like(x, np.inf))
                    reached = sign * y + chord * (middle - x)
                    lower_still = reached < best - 2.0**-44 * (abs(y) + abs(height))
                    best = np.where(lower_still, reached, best)
                    slope = np.where(lower_still, sign * chord, slope)
            results.append(np.where(np.isfinite(slope), slope, 0.0))
        return results[0], results[1]

    def intercept(self, nu: Floats, multiplier: Floats, lower: Floats, upper: Floats) -> Floats:
        """The least of g = nu phi - A x at all ends of pieces, and of a tangent where g is convex.

        Where g is concave its minimum is at an end of the piece. Where it is convex,
        g(x) >= g(t) + g'(t) (x - t) for any t of the piece. Between a rounded bend and the true one
        g changes by less than (|nu| lipschitz + |A|) times their distance.
        """
        edges = [lower, *(np.clip(b, lower, upper) for b in self.bends(lower, upper)), upper]
        least = np.minimum.reduce([self._height(nu, multiplier, x) for x in edges])
        with np.errstate(all="ignore"):
            slope = np.where(nu == 0, 0.0, multiplier / np.where(nu == 0, 1.0, nu))
        for piece, (left, right) in enumerate(pairwise(edges)):
            curved = np.where(nu >= 0, 1, -1) * np.where(self.convex(piece, lower), 1, -1) > 0
            at = self.stationary(slope, left, right)
            at = np.clip(np.where(np.isnan(at), left, at), left, right)
            below = self._tangent(nu, multiplier, at, left, right)
            least = np.where(curved & (left < right), np.minimum(least, below), least)
        if self.lipschitz:
            reach = np.maximum(abs(lower), abs(upper)) + 8
            least = least - 16 * UNIT * reach * (abs(nu) * self.lipschitz + abs(multiplier))
        return np.where(np.isnan(least), -np.inf, least)

    def _tangent(
        self, nu: Floats, multiplier: Floats, at: Floats, left: Floats, right: Floats
    ) -> Floats:
        slopes = self.at(at)[2:]
        rises = [nu * slope - multiplier for slope in slopes]
        most = np.maximum(*map(abs, slopes))
        slack = 8 * UNIT * (abs(nu) * most + abs(multiplier)) + TINY
        down = (np.maximum(*rises) + slack).clip(0) * (at - left)
        up = (slack - np.minimum(*rises)).clip(0) * (right - at)
        drop = np.maximum(down, up) * (1 + 8 * UNIT) + TINY
        value = self._height(nu, multiplier, at) - drop
        return value - 4 * UNIT * abs(value)

    def _height(self, nu: Floats, multiplier: Floats, x: Floats) -> Floats:
        low, high, _, _ = self.at(x)
        size = abs(nu) * np.maximum(abs(low), abs(high)) + abs(multiplier * x)
        return lowered(np.where(nu >= 0, nu * low, nu * high) - multiplier * x, size)

    def error32(self, lower: Floats, upper: Floats) -> Floats:
        """Nothing is known of the runtime's function."""
        return np.full_like(lower, np.inf)


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


class SShape(Curve):
    """phi(x) = g s(g x) - (g - 1) for s(x) = 1 / (1 + exp(-x)): Sigmoid for g = 1, Tanh for g = 2.

    It increases, is convex where x <= 0, concave where x >= 0; phi' = g^2 s (1 - s).
    """

    def __init__(self, gain: int) -> None:
        self.gain = gain

    def bracket(self, x: Floats) -> Bracket:
        """Bounds of phi(x), below and above, then of phi'(x).

        Beyond 700 s is between 0 and s(-700), or s(700) and 1. g x, g s, g^2 s are exact;
        g s - 1 is rounded by at most u. s (1 - s), rounded twice, is least at an end and at most
        1/4.
        """
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
        return self.at(lower)[0], self.at(upper)[1]

    def lines(self, lower: Floats, upper: Floats) -> Pair:
        """Tangents on the convex side, else chords; above by symmetry: phi(-x) = c - phi(x)."""
        return self._below(lower, upper), self._below(-upper, -lower)

    def _below(self, lower: Floats, upper: Floats) -> Floats:
        """The tangent's slope in the middle, or further left, so that it is below phi(upper)."""
        target, (start, _, steep, _) = self.at(upper)[0], self.at(lower)
        chord = ratio(target - start, upper - lower, steep)
        left, right = lower, np.minimum(upper, 0.0)
        for _ in range(12):
            touch = (left + right) / 2
            value, _, slope, _ = self.at(touch)
            passes_below = value + slope * (upper - touch) <= target
            left, right = np.where(passes_below, touch, left), np.where(passes_below, right, touch)
        slope = self.at(np.minimum(left, (lower + upper) / 2))[2]
        return np.where((lower >= 0) | (left <= lower), chord, slope)

    def stationary(self, slope: Floats, lower: Floats, upper: Floats) -> Floats:
        """Where s (1 - s) = phi' / g^2: once on each side of 0."""
        slope = np.clip(slope / self.gain**2, 1e-300, 0.25)
        s = 2 * slope / (1 + np.sqrt(1 - 4 * slope))
        at = np.log(s / (1 - s)) / self.gain
        return np.where(lower >= 0, -at, at)

    def bends(self, lower: Floats, upper: Floats) -> list[Floats]:
        """At 0."""
        return [0 * lower]

    def error32(self, lower: Floats, upper: Floats) -> Floats:
        """Assumed of the runtime: at most 8 units in the last place of 1; ONNX Runtime has 2.6."""
        return np.full_like(lower, 2.0**-20)


class Exp(Curve):
    """exp(x), for |x| <= 700."""

    def bracket(self, x: Floats) -> Bracket:
        """1 / exp(-x) is rounded once more."""
        fall = exp_of_minus(np.minimum(abs(x), 700.0))
        value = np.where(abs(x) <= 700.0, np.where(x > 0, 1 / fall, fall), np.nan)
        low, high = _around(value, 2.0**-46)
        return low, high, low, high

    def stationary(self, slope: Floats, lower: Floats, upper: Floats) -> Floats:
        return np.log(np.maximum(slope, 1e-300))


class Reciprocal(Curve):
    """1 / x, on one side of 0."""

    def bracket(self, x: Floats) -> Bracket:
        value = np.where(x == 0, np.nan, 1 / np.where(x == 0, 1.0, x))
        return *_around(value, 4 * UNIT), *_around(-value * value, 16 * UNIT)

    def convex(self, piece: int, lower: Floats) -> Floats:
        """On the right of 0."""
        return lower > 0

    def intercept(self, nu: Floats, multiplier: Floats, lower: Floats, upper: Floats) -> Floats:
        """Nothing is known of boxes that hold 0."""
        found = super().intercept(nu, multiplier, lower, upper)
        return np.where((lower > 0) | (upper < 0), found, -np.inf)

    def stationary(self, slope: Floats, lower: Floats, upper: Floats) -> Floats:
        return np.where(lower > 0, 1, -1) / np.sqrt(np.maximum(-slope, 1e-300))

    def error32(self, lower: Floats, upper: Floats) -> Floats:
        """One rounding, of numbers that are largest at the end next to 0."""
        near = np.minimum(abs(lower), abs(upper))
        crosses = (lower <= 0) & (upper >= 0)
        near = np.where(crosses, np.nan, near)
        return np.where(crosses, np.inf, 1 / near * (1.001 * UNIT32) + TINY32)


class Power(Curve):
    """x^p for p = 2, 3, ..., 8: p - 1 products."""

    def __init__(self, exponent: int) -> None:
        self.exponent = exponent

    def bracket(self, x: Floats) -> Bracket:
        """p - 1 products are off by gamma_(p - 1); those of p x^(p - 1), too."""
        before = np.ones_like(x)
        for _ in range(self.exponent - 1):
            before = before * x
        return *_around(before * x, 16 * UNIT), *_around(self.exponent * before, 16 * UNIT)

    def bends(self, lower: Floats, upper: Floats) -> list[Floats]:
        """Odd powers are concave on the left of 0."""
        return [0 * lower] if self.exponent % 2 else []

    def convex(self, piece: int, lower: Floats) -> Floats:
        """All of an even power, the right half of an odd one."""
        return np.full(lower.shape, self.exponent % 2 == 0 or piece == 1)

    def stationary(self, slope: Floats, lower: Floats, upper: Floats) -> Floats:
        size = (abs(slope) / self.exponent) ** (1 / (self.exponent - 1))
        even = np.where(slope < 0, -size, size)
        return np.where(upper <= 0, -size, size) if self.exponent % 2 else even


class Root(Curve):
    """sqrt(x), x >= 0: IEEE 754 demands that it be rounded correctly."""

    convex_first = False

    def bracket(self, x: Floats) -> Bracket:
        value = np.where(x < 0, np.nan, np.sqrt(np.maximum(x, 0.0)))
        steep = 0.5 / np.where(value > 0, value, np.nan)
        steep = np.where(value == 0, np.inf, steep)
        return *_around(value, 4 * UNIT), steep * (1 - 8 * UNIT), steep * (1 + 8 * UNIT)

    def stationary(self, slope: Floats, lower: Floats, upper: Floats) -> Floats:
        """Away from 0, where the slope is infinite."""
        return np.maximum(0.25 / np.maximum(slope, 1e-150) ** 2, upper * 1e-12)


_PI_HIGH, _PI_LOW = 3.1415926534682512, 1.2154201013012384e-10
"""The first has 33 bits; their sum is pi within 2^-86."""
_SINE_REACH = 2.0**19
_SINE_ERROR = 2.0**-46


def _sine(x: Floats) -> Floats:
    """sin(x) for |x| <= 2^19, off by less than 2^-46.

    With k = rint(x / pi) and r = x - k pi, sin(x) = (-1)^k sin(r), |r| < 1.58. k has at most 19
    bits, so k times the high part is exact, as is its difference from x; the low part's product and
    its subtraction are rounded, by 2 u at most, and pi's own error adds k 2^-86 < 2^-67. The
    Taylor polynomial of degree 23 misses sin(r) by 1.58^25 / 25! < u / 100; Horner's scheme on
    r^2 < 2.5 is off by less than gamma_36 sinh(1.58) < 85 u.
    """
    k = np.rint(x / pi)
    r = (x - k * _PI_HIGH) - k * _PI_LOW
    square, total = r * r, 0 * r
    for n in range(23, 0, -2):
        total = 1 / factorial(n) - square * total if n > 1 else 1.0 - square * total
    return np.where(k % 2 == 0, 1.0, -1.0) * r * total


class Wave(Curve):
    """sin(x), or cos(x) = sin(x + pi / 2); over boxes wider than 3 pi only that |phi| <= 1."""

    lipschitz = 1.0

    def __init__(self, *, cosine: bool) -> None:
        self.shift = pi / 2 if cosine else 0.0

    def bracket(self, x: Floats) -> Bracket:
        """x + pi / 2 is rounded by u (|x| + 2); |phi'| and |phi''| are at most 1."""
        known = abs(x) <= _SINE_REACH - 2
        results: list[Floats] = []
        for shift in (self.shift, self.shift + pi / 2):
            error = _SINE_ERROR + 4 * UNIT * (abs(x) + 4)
            value = np.where(known, _sine(np.where(known, x + shift, 0.0)), 0.0)
            error = np.where(known, error, 1.0)
            results += [np.maximum(value - error, -1.0), np.minimum(value + error, 1.0)]
        return results[0], results[1], results[2], results[3]

    def _first(self, lower: Floats) -> Floats:
        return np.ceil((lower + self.shift) / pi)

    def bends(self, lower: Floats, upper: Floats) -> list[Floats]:
        """Multiples of pi, where sin changes its curvature."""
        return [(self._first(lower) + k) * pi - self.shift for k in range(4)]

    def convex(self, piece: int, lower: Floats) -> Floats:
        """Where sin(x + shift) < 0: between (2 k - 1) pi and 2 k pi."""
        return (self._first(lower) + piece) % 2 == 0

    def stationary(self, slope: Floats, lower: Floats, upper: Floats) -> Floats:
        """cos(y) = slope, y = x + shift = 2 pi k +- arccos(slope)."""
        angle, middle = np.arccos(np.clip(slope, -1, 1)), (lower + upper) / 2 + self.shift
        turn = np.rint(middle / (2 * pi)) * 2 * pi
        return turn + np.where(middle < turn, -angle, angle) - self.shift

    def intercept(self, nu: Floats, multiplier: Floats, lower: Floats, upper: Floats) -> Floats:
        """Wide or far boxes: nu phi >= -|nu|."""
        found = super().intercept(nu, multiplier, lower, upper)
        ends = np.minimum(-multiplier * lower, -multiplier * upper)
        flat = lowered(ends - abs(nu), abs(nu) + abs(ends))
        far = np.maximum(abs(lower), abs(upper)) > _SINE_REACH - 16
        return np.where((upper - lower > 9.0) | far, flat, np.maximum(found, flat))
