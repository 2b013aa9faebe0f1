"""Numbers: float64 with error terms that are proved, or exact fractions with none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]
"""float64 arrays, or arrays of ``Fraction`` objects in exact arithmetic."""

Ints = npt.NDArray[Any]
"""Integers or truth values."""

UNIT = 2.0**-53
"""Unit roundoff of float64."""
UNIT32 = 2.0**-24
"""Unit roundoff of float32."""
TINY = 2.0**-1000
"""More than 8 times the absolute error of one operation of float64 that underflows: so much more
that products with it are normal numbers as a rule, which are fifty times as fast."""
TINY32 = 2.0**-148
"""The same for float32: twice the least subnormal number."""


@dataclass(frozen=True)
class Arithmetic:
    """How the checker computes: float64 in round-to-nearest, or fractions."""

    exact: bool = False

    def gamma(self, terms: int) -> float | int:
        """gamma_n = n u / (1 - n u), rounded up: a sum of n products is off by gamma_n sum|x y|.

        Higham 2002, section 3.1; any order of summation, with or without fused multiply-add. 0 in
        exact arithmetic.
        """
        if self.exact:
            return 0  # not 0.0: a fraction plus a float is a float
        if terms >= 2**40:
            raise ValueError("too many terms in a sum")
        return terms * UNIT / (1 - terms * UNIT) * (1 + 2.0**-50)

    @property
    def tiny(self) -> float | int:
        """An absolute error of one underflowing operation; 0 in exact arithmetic."""
        return 0 if self.exact else TINY

    def numbers(self, x: npt.ArrayLike) -> Floats:
        """float64 numbers, taken exactly."""
        floats = np.asarray(x, dtype=np.float64)
        if not self.exact:
            return floats
        result = np.empty(floats.shape, dtype=object)
        result.reshape(-1)[:] = [Fraction(value) for value in floats.reshape(-1).tolist()]
        return result

    def zeros(self, *shape: int) -> Floats:
        """Zeros of the arithmetic's kind."""
        return self.numbers(np.zeros(shape))

    def rounded(
        self, x: Sequence[Sequence[Fraction]], rounding: Callable[[Fraction], float]
    ) -> Floats:
        """Fractions; in float64 ``rounding`` says which numbers stand for them."""
        if self.exact:
            return np.array(x, dtype=object)
        return np.array([[rounding(value) for value in row] for row in x], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Table:
    """Arrays of as many entries each."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, some: Ints | slice) -> Self:
        return type(self)(*(getattr(self, f.name)[some] for f in fields(self)))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All entries of several tables."""
        names = [f.name for f in fields(cls)]
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def gamma32(terms: int) -> float:
    """gamma_n of float32, rounded up; infinite where it does not exist."""
    product = terms * UNIT32
    return product / (1 - product) * (1 + 2.0**-50) if product < 0.5 else float("inf")


def round_down(x: Fraction) -> float:
    """The greatest double that is at most x."""
    return _moved(x, -1)


def round_up(x: Fraction) -> float:
    """The least double that is at least x."""
    return _moved(x, 1)


def _moved(x: Fraction, sign: int) -> float:
    nearest = x.numerator / x.denominator
    numerator, denominator = nearest.as_integer_ratio()
    beyond = sign * (x.numerator * denominator - numerator * x.denominator) > 0
    return float(np.nextafter(nearest, sign * np.inf)) if beyond else nearest
