"""Many boxes that bound few inputs each, and the rounding of their bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.records import dataclass
from verifier.spec.query import Assertion, Booleans, Floats
from verifier.spec.ragged import Integers


@dataclass(frozen=True, eq=False)
class Sides:
    """Lower and upper bounds, of any common shape, with and without rounding outward.

    `nearest_*` are the doubles nearest to the numbers in the file; `lower` and `upper` lie one unit
    in the last place further out wherever the file's number may not be a double.
    """

    lower: Floats
    upper: Floats
    nearest_lower: Floats
    nearest_upper: Floats

    @classmethod
    def unbounded(cls, *shape: int) -> Sides:
        return cls(
            np.full(shape, -np.inf),
            np.full(shape, np.inf),
            np.full(shape, -np.inf),
            np.full(shape, np.inf),
        )

    def __getitem__(self, index: Any) -> Sides:
        return Sides(
            self.lower[index],
            self.upper[index],
            self.nearest_lower[index],
            self.nearest_upper[index],
        )

    def intersect(self, other: Sides) -> Sides:
        return Sides(
            np.maximum(self.lower, other.lower),
            np.minimum(self.upper, other.upper),
            np.maximum(self.nearest_lower, other.nearest_lower),
            np.minimum(self.nearest_upper, other.nearest_upper),
        )

    def put(self, index: Any, other: Sides) -> None:
        """Tighten some bounds in place; no element may be named twice."""
        tighter = self[index].intersect(other)
        self.lower[index] = tighter.lower
        self.upper[index] = tighter.upper
        self.nearest_lower[index] = tighter.nearest_lower
        self.nearest_upper[index] = tighter.nearest_upper

    def empty(self) -> Booleans:
        """Where no number fits. Rounding is monotone, so none fits in exact arithmetic either."""
        return self.nearest_lower > self.nearest_upper

    def free(self) -> Booleans:
        """Where more than one number fits."""
        return self.nearest_lower < self.nearest_upper

    def outward(self) -> tuple[Floats, Floats]:
        """Lower and upper bounds that contain the file's interval; a point stays a point."""
        free = self.free()
        return (
            np.where(free, self.lower, self.nearest_lower),
            np.where(free, self.upper, self.nearest_upper),
        )


@dataclass(frozen=True, eq=False)
class SparseBoxes:
    """Boxes, each over the few inputs that it bounds.

    Box b bounds the inputs variable[start[b] : start[b + 1]], which ascend, by the same piece of
    `sides`; it leaves all others alone.
    """

    start: Integers
    variable: Integers
    sides: Sides

    def __len__(self) -> int:
        return len(self.start) - 1

    def box_of_entry(self) -> Integers:
        return np.repeat(np.arange(len(self)), np.diff(self.start))


def boxes_from_rows(assertion: Assertion, rows: Integers, n_inputs: int) -> SparseBoxes:
    """The tightest box of each clause.

    Args:
        assertion: where the rows come from
        rows: ascending numbers of rows over a single input
        n_inputs: of the network
    """
    entry = assertion.row_start[rows]
    variable = assertion.variable[entry].astype(np.int64)
    clause = assertion.clause_of_row()[rows]
    sides = _sides_of_rows(assertion, rows, upper=assertion.coefficient[entry] > 0)

    place = clause * n_inputs + variable
    if (np.diff(place) < 0).any():
        order = np.argsort(place, kind="stable")
        place, sides = place[order], sides[order]
    first = np.flatnonzero(np.diff(place, prepend=-1))
    if len(first):
        sides = Sides(
            np.maximum.reduceat(sides.lower, first),
            np.minimum.reduceat(sides.upper, first),
            np.maximum.reduceat(sides.nearest_lower, first),
            np.minimum.reduceat(sides.nearest_upper, first),
        )
    place = place[first]
    start = np.searchsorted(place, np.arange(assertion.n_clauses + 1) * n_inputs)
    return SparseBoxes(start, place % n_inputs if n_inputs else place, sides)


def _sides_of_rows(assertion: Assertion, rows: Integers, *, upper: Booleans) -> Sides:
    """x <= bound, or -x <= bound, as an interval of x."""
    bound, rounded = assertion.bound[rows], assertion.rounded[rows]
    outer = outward(bound, rounded)
    infinity = np.inf
    return Sides(
        np.where(upper, -infinity, -outer),
        np.where(upper, outer, infinity),
        np.where(upper, -infinity, -bound),
        np.where(upper, bound, infinity),
    )


def outward(bound: Floats, rounded: Booleans) -> Floats:
    """Upper bounds that are no less than the file's numbers."""
    return np.where(rounded, np.nextafter(bound, np.inf), bound)
