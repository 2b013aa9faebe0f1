"""Error factors are at least what the theory asks for, and roundings go where they should."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from verifier.checker.arithmetic import (
    TINY,
    TINY32,
    UNIT,
    UNIT32,
    Arithmetic,
    Floats,
    Table,
    gamma32,
    round_down,
    round_up,
)

FLOAT, EXACT = Arithmetic(), Arithmetic(exact=True)
TERMS = (0, 1, 2, 3, 7, 100, 12345, 2**20 + 1)


def exact_gamma(terms: int, unit: Fraction) -> Fraction:
    return terms * unit / (1 - terms * unit)


@pytest.mark.parametrize("terms", [*TERMS, 2**39, 2**40 - 1])
def test_gamma_is_rounded_up_and_by_little(terms):
    exact = exact_gamma(terms, Fraction(1, 2**53))
    assert exact <= Fraction(FLOAT.gamma(terms)) <= exact * (1 + Fraction(1, 2**49))
    assert EXACT.gamma(terms) == 0
    assert type(EXACT.gamma(terms)) is type(EXACT.tiny) is int


@pytest.mark.parametrize("terms", [*TERMS, 2**23 - 1])
def test_gamma_of_float32(terms):
    exact = exact_gamma(terms, Fraction(1, 2**24))
    assert exact <= Fraction(gamma32(terms)) <= exact * (1 + Fraction(1, 2**49))


def test_there_is_no_gamma_of_too_many_terms():
    assert gamma32(2**23) == gamma32(2**25) == np.inf
    with pytest.raises(ValueError, match="too many terms"):
        FLOAT.gamma(2**40)


def test_units():
    assert (np.finfo(np.float64).eps / 2, np.finfo(np.float32).eps / 2) == (UNIT, UNIT32)
    assert FLOAT.tiny == TINY
    assert TINY >= 8 * 2.0**-1074
    assert 2 * float(np.finfo(np.float32).smallest_subnormal) <= TINY32
    assert EXACT.tiny == 0


@pytest.mark.parametrize(
    "number",
    [Fraction(1, 3), Fraction(-1, 3), Fraction(0.1), Fraction(10**30 + 1), Fraction(2) ** -1080],
)
def test_rounding_goes_outward_by_one_number(number):
    down, up = round_down(number), round_up(number)
    assert Fraction(down) <= number <= Fraction(up)
    assert (down == up) == (Fraction(float(number)) == number)
    assert down == up or np.nextafter(down, np.inf) == up


def test_numbers_are_those_given_in_either_arithmetic():
    x = [[0.1, -2.0], [3e300, 0.0]]
    assert FLOAT.numbers(x).dtype == np.float64
    assert FLOAT.numbers(np.array([0.1], np.float32))[0] == float(np.float32(0.1))
    exact = EXACT.numbers(x)
    assert exact.dtype == object
    assert exact.tolist() == [[Fraction(v) for v in row] for row in x]
    assert EXACT.zeros(2, 0).shape == FLOAT.zeros(2, 0).shape == (2, 0)
    assert EXACT.zeros(1, 2).tolist() == FLOAT.zeros(1, 2).tolist() == [[0, 0]]
    assert type(EXACT.zeros(1)[0]) is Fraction
    thirds = [[Fraction(1, 3), Fraction(-1, 3)]]
    assert EXACT.rounded(thirds, round_up).tolist() == thirds
    assert FLOAT.rounded(thirds, round_up).tolist() == [[round_up(v) for v in thirds[0]]]
    assert FLOAT.rounded(thirds, round_down).tolist() == [[round_down(v) for v in thirds[0]]]


@dataclass(frozen=True, eq=False)
class Pairs(Table):
    one: Floats
    two: Floats


def test_tables_are_cut_and_joined():
    table = Pairs(np.arange(3.0), np.arange(6.0).reshape(3, 2))
    assert len(table) == 3
    assert table[1:].two.tolist() == [[2, 3], [4, 5]]
    assert table[np.array([2, 0])].one.tolist() == [2, 0]
    joined = Pairs.join([table[1:], table[:1]])
    assert (joined.one.tolist(), joined.two.tolist()) == ([1, 2, 0], [[2, 3], [4, 5], [0, 1]])
