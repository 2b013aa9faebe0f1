"""Products of variables in properties: further variables, which follow the outputs."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Monomials = tuple[tuple[int, ...], ...]
"""The variables that each product multiplies, ascending; squares name theirs twice."""


def products_at(points: Floats, monomials: Monomials) -> Floats:
    """The products at points, rounded: float64 [points, monomials] from [points, variables]."""
    columns = [points[:, list(factors)].prod(axis=1) for factors in monomials]
    return np.stack(columns, axis=1) if columns else np.zeros((len(points), 0))


def exact_values(point: Floats, monomials: Monomials) -> list[Fraction]:
    """The variables at a point, and the products after them."""
    values = [Fraction(x) for x in point.tolist()]
    one = Fraction(1)
    return [*values, *(prod((values[f] for f in factors), start=one) for factors in monomials)]
