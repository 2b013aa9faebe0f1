"""Affine operators: y = sum_i M_i x_i + b."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from verifier.families.operator import Operator
from verifier.records import dataclass
from verifier.tensors import Array, Float, Int


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine(Operator):
    """y = sum_i M_i x_i + b.

    Law: ``<a, M x> == <adjoint(a), x>`` in exact arithmetic; the computed values of ``evaluate``
    and of ``adjoint`` err by at most gamma(terms) times ``absolute`` of the magnitudes (plus the
    bias's), where gamma_n = n u / (1 - n u), in whatever order sums are taken (Higham 2002, 3.5).
    The constants themselves may differ from the exact ones by a few roundings; ``terms`` counts
    them.
    """

    flushes: ClassVar[tuple[str, ...]] = ()
    """The constants that entries of the matrices and of the bias are, times 0, 1 or -1, if any."""

    terms: int
    bias: Array | None = None
    bias_magnitude: Array | None = None
    """At least |bias|, and larger where the bias is the result of a cancellation; None: |bias|."""
    lost: float = 0.0
    """How far entries of the matrices, and of the bias, may besides be from the exact ones."""

    @abstractmethod
    def adjoint(self, rows: Float[Array, "rows m"]) -> tuple[Float[Array, "rows _"], ...]:
        """a -> (a M_1, a M_2, ...)."""

    @abstractmethod
    def absolute(self, *inputs: Float[Array, "batch _"]) -> Float[Array, "batch m"]:
        """sum_i |M_i| x_i, without the bias."""

    def unit_rows(self, index: Int[Array, " rows"]) -> tuple[Float[Array, "rows _"], ...]:
        """The rows ``index`` of (M_1, M_2, ...): the adjoint of unit vectors."""
        xp = self.xp
        unit = xp.zeros(index.shape[0], self.size)
        unit[xp.arange(index.shape[0]), index] = 1.0
        return self.adjoint(unit)

    def picks(self, index: Int[Array, " rows"]) -> tuple[tuple[Array, float], ...] | None:
        """For each input the elements, and their factor 1 or -1, that make the elements ``index``.

        None where they are anything but sums of one element of each input.
        """
        return None

    @property
    def takes_bias(self) -> bool:
        """May any other bias take the place of its own?"""
        return self.bias is not None

    def flushed(self, limit: float) -> Self:
        if not self.flushes or self.ordinary(limit):
            return self
        changes: dict[str, Any] = {}
        for name in {*self.flushes, "bias_magnitude"}:
            constant = getattr(self, name)
            if constant is not None:
                changes[name] = np.where(np.abs(constant) < 1 / limit, 0.0, constant)
        return replace(self, lost=max(self.lost, 1 / limit), **changes)

    def lost_of(self, *inputs: Float[Array, "batch _"]) -> Float[Array, "batch 1"] | float:
        """How far an output may be off for what was lost, given max |x_i|; 0: nothing was."""
        if not self.lost:
            return 0.0
        total = sum((self.xp.astype_double(x).sum(1) for x in inputs), start=1.0)
        return self.xp.floats(2 * self.lost * total)[:, None]

    def bias_bound(self) -> Array | None:
        """The magnitude of the bias: None where there is no bias."""
        if self.bias_magnitude is not None:
            return self.bias_magnitude
        return None if self.bias is None else abs(self.bias)

    def magnitude(self, *inputs: Float[Array, "batch _"]) -> Float[Array, "batch m"]:
        """An upper bound (up to rounding) of sum_i |M_i||x_i| + |b|, given max |x_i|."""
        total = self.absolute(*inputs)
        bound = self.bias_bound()
        return total if bound is None else total + bound

    @property
    def moves(self) -> bool:
        """Does it only move and add up entries, with the factors 1 and -1 and without a bias?"""
        return False

    @property
    def disjoint(self) -> bool:
        """Does no element of an input go into two elements of the output? False: not known."""
        return False

    @property
    def is_identity(self) -> bool:
        """Does it give back its one input as it is?"""
        return False

    def given(self, constants: Sequence[np.ndarray | None]) -> Affine | None:
        """The operator of the inputs that are None, the others being these constants, or None."""
        return None

    def absorb_next(self, following: Affine) -> Affine | None:
        """One operator that does this one and then ``following`` (both of one input), or None.

        Law: the result keeps the law above for the composed exact function, and costs no more than
        the two. Both are on no backend yet; constants are NumPy's.
        """
        return None

    def absorb_previous(self, preceding: Affine) -> Affine | None:
        """One operator that does ``preceding`` and then this one, under the same law, or None."""
        return None


def some(constant: Array | None, index: Array) -> Array | None:
    """Some elements of a constant, where there is one."""
    return None if constant is None else constant[index]


def plus(a: Array | None, b: Array | None) -> Array | None:
    """``a + b``, where None is 0."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


def times(a: Array | None, b: Array | None) -> Array | None:
    """``a b``, where None on the left is 0 and None on the right is 1."""
    return a if a is None or b is None else a * b
