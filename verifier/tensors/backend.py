"""What the engine asks of an array library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from verifier.records import dataclass
from verifier.tensors.annotations import Array
from verifier.tensors.rough import RoughProduct

Record = TypeVar("Record", bound=Any)


def gamma(terms: int, unit_roundoff: float) -> float:
    """gamma_n = n u / (1 - n u), the relative error of n roundings (Higham 2002, 3.1)."""
    product = terms * unit_roundoff
    return product / (1 - product) if product < 1 else float("inf")


ROUNDS = 16
"""Of so many columns for a target one after the other is added; sums over the others are slower."""


@dataclass(frozen=True, eq=False)
class Rounds:
    """How NumPy adds up columns by target: gathering some is several times as fast as sums are.

    Targets are ordered by how many columns they have, those with most first.
    """

    columns: tuple[np.ndarray, ...]
    """The first column of each target; the second one of those that have two; and so on."""
    rest: tuple[np.ndarray, np.ndarray] | None
    """The columns of the first targets beyond ``ROUNDS``, and where each of these begins."""
    place: np.ndarray
    """int64 [size]: where each target is in that order; one after the last: it has no column."""


@dataclass(frozen=True, eq=False)
class ScatterPlan:
    """Where columns are added to: column j goes to ``index[j]`` of ``size``.

    ``order`` sorts the columns by target; ``targets`` are the distinct ones and ``starts`` their
    first positions in that order. ``unique``: no target is met twice.
    """

    index: Array
    order: Array
    targets: Array
    starts: Array
    size: int
    unique: bool

    @staticmethod
    def of(index: np.ndarray, size: int) -> ScatterPlan:
        """A plan for NumPy's integer ``index`` (all in ``[0, size)``)."""
        if (np.diff(index) > 0).all():  # as most are, in crops
            order = np.arange(len(index))
            return ScatterPlan(index, order, index, order, size, unique=True)
        order = np.argsort(index, kind="stable")
        targets, starts = np.unique(index[order], return_index=True)
        return ScatterPlan(index, order, targets, starts, size, len(targets) == len(index))

    @cached_property
    def rounds(self) -> Rounds:
        """For NumPy, where some target is met twice."""
        counts = np.diff(np.append(self.starts, len(self.order)))
        by_count = np.argsort(-counts, kind="stable")
        starts, counts = self.starts[by_count], counts[by_count]
        more = [int((counts > k).sum()) for k in range(ROUNDS + 1)]
        columns = tuple(self.order[starts[:n] + k] for k, n in enumerate(more[:ROUNDS]) if n)
        rest, place = None, np.full(self.size, len(self.targets))
        if more[ROUNDS]:
            many = zip(starts[: more[ROUNDS]], counts[: more[ROUNDS]], strict=True)
            parts = [self.order[start + ROUNDS : start + count] for start, count in many]
            rest = np.concatenate(parts), np.cumsum([0, *map(len, parts[:-1])])
        place[self.targets[by_count]] = np.arange(len(self.targets))
        return Rounds(columns, rest, place)

    def on(self, backend: Backend) -> ScatterPlan:
        """The same plan with the backend's arrays."""
        ints = backend.ints
        return ScatterPlan(
            ints(self.index),
            ints(self.order),
            ints(self.targets),
            ints(self.starts),
            self.size,
            self.unique,
        )


class Backend(ABC):
    """An array library, a working precision and a device.

    Arrays support arithmetic, comparison, indexing, ``@``, ``abs``, ``.shape``, ``.reshape``,
    ``.clip(min=, max=)``, ``.sum(axis)``, ``.any(axis)``, ``.all(axis)`` and ``.argmax(axis)`` in
    both libraries; whatever differs between them is here.
    """

    name: str
    dtype: str
    device: str
    supports_convolution: bool

    @property
    def unit_roundoff(self) -> float:
        """Half the distance from 1 to the next number of the working precision."""
        return 2.0**-24 if self.dtype == "float32" else 2.0**-53

    @property
    def least_normal(self) -> float:
        """The least positive normal number: below it rounding errors are absolute, not relative.

        Some devices flush what lies below to 0, so no smaller error is assumed.
        """
        return 2.0**-126 if self.dtype == "float32" else 2.0**-1022

    @property
    def tiny(self) -> float:
        """More than the sum of all underflow errors of one bound."""
        return 1e-30 if self.dtype == "float32" else 1e-280

    def joined(self, parts: Sequence[Record]) -> Record:
        """Dataclasses of arrays as one of all their rows; an only one as it is."""
        first = parts[0]
        if len(parts) == 1:
            return first
        names = [f.name for f in fields(first)]
        return type(first)(*(self.cat([getattr(p, name) for p in parts], 0) for name in names))

    @abstractmethod
    def single_threaded(self) -> AbstractContextManager[object]:
        """While it lasts, each operation of the library uses one thread."""

    # making arrays
    @abstractmethod
    def floats(self, x: Any) -> Array:
        """An array in the working precision (rounded to nearest)."""

    @abstractmethod
    def doubles(self, x: Any) -> Array:
        """An array in float64."""

    @abstractmethod
    def ints(self, x: Any) -> Array:
        """An int64 array."""

    @abstractmethod
    def bools(self, x: Any) -> Array:
        """A boolean array."""

    @abstractmethod
    def numpy(self, x: Array) -> np.ndarray:
        """A NumPy copy or view on the host."""

    @abstractmethod
    def zeros(self, *shape: int) -> Array: ...

    @abstractmethod
    def empty(self, *shape: int) -> Array:
        """Of any contents."""

    @abstractmethod
    def full(self, shape: Sequence[int], value: float) -> Array: ...

    @abstractmethod
    def arange(self, stop: int) -> Array: ...

    # choosing and combining
    @abstractmethod
    def where(self, condition: Array, yes: Any, no: Any) -> Array: ...

    @abstractmethod
    def maximum(self, a: Array, b: Array) -> Array: ...

    @abstractmethod
    def minimum(self, a: Array, b: Array) -> Array: ...

    @abstractmethod
    def cat(self, parts: Sequence[Array], axis: int) -> Array: ...

    @abstractmethod
    def nonzero(self, mask: Array) -> tuple[Array, ...]:
        """Index arrays of the true entries, in C order."""

    @abstractmethod
    def repeat(self, x: Array, counts: Any) -> Array:
        """Repeat along the first axis, ``counts`` times each (a number or an array)."""

    @abstractmethod
    def take_along(self, x: Array, index: Array, axis: int) -> Array: ...

    @abstractmethod
    def argsort(self, x: Array, axis: int = -1) -> Array: ...

    # reductions
    @abstractmethod
    def amax(self, x: Array, axis: int) -> Array: ...

    @abstractmethod
    def amin(self, x: Array, axis: int) -> Array: ...

    @abstractmethod
    def cumsum(self, x: Array, axis: int) -> Array: ...

    @abstractmethod
    def row_dot(self, a: Array, b: Array) -> Array:
        """Sum of ``a * b`` over the last axis, in float64.

        At most ``dot_terms`` are summed in the working precision: longer sums go in blocks.
        """

    @property
    def dot_terms(self) -> int:
        """The longest run that ``row_dot`` sums in the working precision."""
        return 256

    @abstractmethod
    def columns(self, x: Array, index: Array) -> Array:
        """``[rows, n] -> [rows, m]``: column ``index[j]`` for each j."""

    @abstractmethod
    def rows(self, x: Array, index: Array) -> Array:
        """``[n, batch] -> [m, batch]``: row ``index[j]`` for each j."""

    @abstractmethod
    def product_into(self, a: Array, b: Array, out: Array) -> None:
        """``out[:] = a @ b``, for batches of matrices."""

    @abstractmethod
    def rough_product(self, matrix: Array) -> RoughProduct | None:
        """``matrix @ x`` for columns x to about 8 bits; None: that would not be faster."""

    @abstractmethod
    def turned(self, x: Array) -> Array:
        """The transpose of a matrix, in rows of its own."""

    @abstractmethod
    def scatter_columns(self, source: Array, plan: ScatterPlan) -> Array:
        """``[rows, m] -> [rows, plan.size]``: column j is added to column ``plan.index[j]``."""

    @abstractmethod
    def scatter_rows(self, source: Array, index: Array, size: int) -> Array:
        """``[rows, m] -> [rows, size]``: entry (r, j) is added to column ``index[r, j]``."""

    @abstractmethod
    def segment_sum(self, source: Array, owner: Array, count: int) -> Array:
        """``[rows, n] -> [count, n]``: rows with the same ``owner`` (sorted) are added."""

    @abstractmethod
    def segment_max(self, source: Array, owner: Array, count: int) -> Array:
        """``[rows, n] -> [count, n]``: the greatest of rows with the same ``owner`` (sorted).

        Owners without rows get -inf.
        """

    # functions
    @abstractmethod
    def function(self, name: str, x: Array) -> Array:
        """An elementwise function by NumPy's name: exp, log, sqrt, tanh, erf, sin, isnan ..."""

    @abstractmethod
    def astype_double(self, x: Array) -> Array: ...

    @abstractmethod
    def copy(self, x: Array) -> Array: ...

    def outward_cast(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """A float64 box on the backend, in the working precision, rounded outward."""
        if self.dtype == "float64":
            return lower, upper
        error = 2 * self.unit_roundoff
        low, high = self.floats(lower), self.floats(upper)
        low = self.where(self.astype_double(low) > lower, low - error * abs(low) - self.tiny, low)
        high = self.where(
            self.astype_double(high) < upper, high + error * abs(high) + self.tiny, high
        )
        return low, high

    def outward(self, lower: Any, upper: Any) -> tuple[Array, Array]:
        """A float64 NumPy box in the working precision, rounded outward."""
        lower, upper = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
        if self.dtype == "float64":
            return self.floats(lower), self.floats(upper)
        low, high = lower.astype(np.float32), upper.astype(np.float32)
        low = np.where(low > lower, np.nextafter(low, np.float32(-np.inf)), low)
        high = np.where(high < upper, np.nextafter(high, np.float32(np.inf)), high)
        return self.floats(low), self.floats(high)
