"""Many decimal literals at once: digits to integers, integers to the nearest doubles."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from verifier.load.vnnlib.formula import TooLarge, nearest
from verifier.load.vnnlib.names import number
from verifier.spec.query import Booleans, Floats
from verifier.spec.ragged import Integers

Words = npt.NDArray[np.uint64]

# So many digits make an integer below 2^63, and any power of ten up to it is one, too.
MAX_DIGITS = 18
PAD = 24

_POWERS_OF_5 = 5 ** np.arange(MAX_DIGITS + 1, dtype=np.int64)
POWERS_OF_10 = 10 ** np.arange(MAX_DIGITS + 1, dtype=np.int64)

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
    """The integers that runs of digits spell.

    Args:
        words: the windows of the text
        stop: int64 [runs], where each run ends; at least PAD
        count: int64 [runs], its number of digits, at most MAX_DIGITS
    """
    value = _eight_digits(words.take(stop - 8), np.minimum(count, 8))
    longer = np.flatnonzero(count > 8)
    if len(longer):
        middle = words.take(stop[longer] - 16)
        value[longer] += _eight_digits(middle, np.minimum(count[longer] - 8, 8)) * 10**8
    longest = np.flatnonzero(count > 16)
    if len(longest):
        high = words.take(stop[longest] - 24)
        value[longest] += _eight_digits(high, count[longest] - 16) * 10**16
    return value


def _eight_digits(word: Words, count: Integers) -> Integers:
    """The value of the last `count` of eight digits: neighbours are added, thrice."""
    word = word & _NIBBLES & _LAST.take(count)
    word = (word * np.uint64(10) + (word >> np.uint64(8))) & _PAIRS
    word = (word * np.uint64(100) + (word >> np.uint64(16))) & _QUADS
    word = (word * np.uint64(10000) + (word >> np.uint64(32))) & _OCTET
    return word.astype(np.int64)


def quotients(mantissa: Integers, places: Integers) -> tuple[Floats, Booleans]:
    """The doubles nearest to mantissa / 10^places, and where they are not equal to it.

    Two exact doubles have a correctly rounded quotient. Wider mantissas go through long doubles: to
    round twice is wrong only where the first result lies halfway between two doubles.
    """
    power = POWERS_OF_10.take(places)
    value = mantissa.astype(np.float64) / power.astype(np.float64)
    wide = np.flatnonzero(mantissa >= 2**53)
    if len(wide):
        value[wide] = _wide_quotients(mantissa[wide], power[wide])
    odd = _POWERS_OF_5.take(places)
    numerator = mantissa // odd
    rounded = numerator * odd != mantissa
    rounded |= numerator.astype(np.float64).astype(np.int64) != numerator
    return value, rounded


def _wide_quotients(mantissa: Integers, power: Integers) -> Floats:
    extended = mantissa.astype(np.longdouble) / power.astype(np.longdouble)
    value = extended.astype(np.float64)
    if np.finfo(np.longdouble).nmant in {63, 112}:
        # A power of two is half as far from its lower neighbour as from its upper one.
        distance = np.abs(extended - value) * 2
        spacing = np.spacing(value)
        doubtful = np.flatnonzero((distance == spacing) | (distance == spacing / 2))
    else:
        doubtful = np.arange(len(value))
    for place in doubtful:
        value[place] = int(mantissa[place]) / int(power[place])
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
        rounded.append(value == value and Fraction(value) != exact)
    return np.array(values, dtype=np.float64), np.array(rounded, dtype=np.bool_)
