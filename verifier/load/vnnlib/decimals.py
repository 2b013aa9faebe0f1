"""Many decimal literals at once: digits to integers, integers to the nearest doubles."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from verifier.load.vnnlib.formula import TooLarge, nearest
from verifier.load.vnnlib.names import number
from verifier.spec.query import Booleans, Floats
from verifier.spec.ragged import Integers

Words = npt.NDArray[np.uint64]

# A run of so many digits can be read; it fits if its value is below 10^18, hence below 2^63.
MAX_RUN = 24
MAX_DIGITS = 18
TOO_LARGE = -1

# 10^22 is the last power of ten that is a double; all up to it are long doubles, too.
MAX_PLACES = 22
PAD = 24

_POWERS_OF_5 = 5 ** np.arange(MAX_PLACES + 1, dtype=np.int64)
_POWERS_OF_10 = 10 ** np.arange(MAX_DIGITS + 1, dtype=np.int64)
_DOUBLE_POWERS = np.array([float(10**places) for places in range(MAX_PLACES + 1)])

# The last n of 8 bytes, the first byte being the lowest.
_LAST = np.array(
    [((1 << 64) - (1 << 8 * (8 - n))) & ((1 << 64) - 1) for n in range(9)], dtype=np.uint64
)
_NIBBLES = np.uint64(0x0F0F0F0F0F0F0F0F)
_PAIRS = np.uint64(0x00FF00FF00FF00FF)
_QUADS = np.uint64(0x0000FFFF0000FFFF)
_OCTET = np.uint64(0x00000000FFFFFFFF)


def windows(data: npt.NDArray[np.uint8]) -> Words:
    """The 8 bytes from each place on, the first byte being the lowest: uint64 [len(data) - 7]."""
    overlapping = np.ndarray(shape=(len(data) - 7,), dtype="<u8", buffer=data.data, strides=(1,))
    return overlapping.astype(np.uint64)


def integers(words: Words, stop: Integers, count: Integers) -> Integers:
    """The integers that runs of digits spell; TOO_LARGE from 10^18 on.

    Args:
        words: the windows of the text
        stop: int64 [runs], where each run ends; at least PAD
        count: int64 [runs], its number of digits, at most MAX_RUN
    """
    value = _eight_digits(words.take(stop - 8), np.minimum(count, 8))
    longer = np.flatnonzero(count > 8)
    if len(longer):
        middle = words.take(stop[longer] - 16)
        value[longer] += _eight_digits(middle, np.minimum(count[longer] - 8, 8)) * 10**8
    longest = np.flatnonzero(count > 16)
    if len(longest):
        high = _eight_digits(words.take(stop[longest] - 24), count[longest] - 16)
        fits = high < 100
        value[longest] = np.where(fits, value[longest] + high * fits * 10**16, TOO_LARGE)
    return value


def _eight_digits(word: Words, count: Integers) -> Integers:
    """The value of the last `count` of eight digits: neighbours are added, thrice."""
    word = word & _NIBBLES & _LAST.take(count)
    word = (word * np.uint64(10) + (word >> np.uint64(8))) & _PAIRS
    word = (word * np.uint64(100) + (word >> np.uint64(16))) & _QUADS
    word = (word * np.uint64(10000) + (word >> np.uint64(32))) & _OCTET
    return word.astype(np.int64)


def mantissas(whole: Integers, fraction: Integers, places: Integers) -> Integers:
    """whole * 10^places + fraction: int64; TOO_LARGE where that, or a part of it, is."""
    shift = _POWERS_OF_10.take(np.minimum(places, MAX_DIGITS))
    fits = (whole >= 0) & (fraction >= 0) & (whole < 10**MAX_DIGITS // shift)
    fits &= (whole == 0) | (places <= MAX_DIGITS)
    return np.where(fits, np.where(fits, whole, 0) * shift + fraction, TOO_LARGE)


def quotients(mantissa: Integers, places: Integers) -> tuple[Floats, Booleans]:
    """The doubles nearest to mantissa / 10^places, and where they are not equal to it.

    Two exact doubles have a correctly rounded quotient. Wider mantissas go through long doubles: to
    round twice is wrong only where the first result lies halfway between two doubles.

    Args:
        mantissa: int64, from 0 and below 10^18
        places: int64, from 0 to MAX_PLACES
    """
    value = mantissa.astype(np.float64) / _DOUBLE_POWERS.take(places)
    wide = np.flatnonzero(mantissa >= 2**53)
    if len(wide):
        value[wide] = _wide_quotients(mantissa[wide], places[wide])
    odd = _POWERS_OF_5.take(places)
    numerator = mantissa // odd
    rounded = numerator * odd != mantissa
    rounded |= numerator.astype(np.float64).astype(np.int64) != numerator
    return value, rounded


def _wide_quotients(mantissa: Integers, places: Integers) -> Floats:
    powers = _DOUBLE_POWERS.take(places)
    extended = mantissa.astype(np.longdouble) / powers.astype(np.longdouble)
    value = extended.astype(np.float64)
    if np.finfo(np.longdouble).nmant in {63, 112}:
        # A power of two is half as far from its lower neighbour as from its upper one.
        distance = np.abs(extended - value) * 2
        spacing = np.spacing(value)
        doubtful = np.flatnonzero((distance == spacing) | (distance == spacing / 2))
    else:
        doubtful = np.arange(len(value))
    for place in doubtful:
        value[place] = int(mantissa[place]) / 10 ** int(places[place])
    return value


def slow_decimals(literals: list[bytes]) -> tuple[Floats, Booleans]:
    """The same for literals of any form, one by one; NaN where one is no number in range."""
    values, rounded = [], []
    for literal in literals:
        exact = number(literal)
        try:
            value = float("nan") if exact is None else nearest(exact)
        except TooLarge:
            value = float("nan")
        values.append(value)
        rounded.append(math.isfinite(value) and Fraction(value) != exact)
    return np.array(values, dtype=np.float64), np.array(rounded, dtype=np.bool_)
