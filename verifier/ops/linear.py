"""Matrices: Gemm, and MatMul with a constant."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from verifier.families.affine import Affine, plus, some, times
from verifier.families.operator import Part
from verifier.families.rearrange import Rearrange
from verifier.ops.scale import Scale
from verifier.records import dataclass
from verifier.tensors import Array, Backend, Float, Int

LEAST_ENTRIES = 1 << 15
"""Smaller matrices are multiplied as they are: a sparse product has a price of its own."""
MOST_FILLED = 0.06
"""The share of entries that are not zero up to which a sparse product is the faster one."""


class Entries:
    """A matrix on NumPy by its entries that are not zero."""

    def __init__(self, matrix: np.ndarray) -> None:
        from scipy.sparse import csr_matrix

        self.forward: Any = csr_matrix(matrix)

    @cached_property
    def backward(self) -> Any:
        """Its transpose."""
        return self.forward.T.tocsr()

    @cached_property
    def absolute(self) -> Any:
        """Its entries' magnitudes."""
        return abs(self.forward)

    @staticmethod
    def pay(weight: np.ndarray) -> bool:
        """Is a matrix so large and empty that products by entries are faster?"""
        if weight.size < LEAST_ENTRIES:
            return False
        return bool(np.count_nonzero(weight) <= MOST_FILLED * weight.size)


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Affine):
    """y = W x + b, applied to each of ``positions`` consecutive blocks of the input.

    ``weight`` is ``[m, n]``; the input is ``[positions n]`` and the output ``[positions m]``, flat.
    The bias is a flat vector over the output.
    """

    flushes: ClassVar[tuple[str, ...]] = ("weight", "bias")

    weight: Array
    positions: int = 1
    entries: Entries | None = None
    """On NumPy, where nearly all of the weights are zero."""

    @staticmethod
    def of(
        weight: np.ndarray, bias: np.ndarray | None = None, positions: int = 1, extra_terms: int = 0
    ) -> Linear:
        """From a float64 matrix [m, n] and a bias over the whole output."""
        m, n = weight.shape
        filled = weight != 0
        # Zeros add nothing, and so no rounding either.
        most = max(filled.sum(0).max(initial=0), filled.sum(1).max(initial=0))
        return Linear(
            sizes=(positions * n,),
            size=positions * m,
            terms=int(most) + 3 + extra_terms,
            bias=bias,
            weight=np.ascontiguousarray(weight),
            positions=positions,
        )

    @property
    def work(self) -> int:
        m, n = self.weight.shape
        if isinstance(self.weight, np.ndarray) and Entries.pay(self.weight):
            return int(np.count_nonzero(self.weight) * self.positions)
        return int(m * n * self.positions)

    def part(self, index: np.ndarray) -> Part | None:
        """Some rows of the matrix, and the columns that are not 0 there."""
        if self.positions != 1:
            return None
        rows = self.weight[index]
        needed = np.flatnonzero((rows != 0).any(axis=0))
        needed = needed if len(needed) else np.zeros(1, dtype=np.int64)
        smaller = replace(
            self,
            sizes=(len(needed),),
            size=len(index),
            bias=some(self.bias, index),
            bias_magnitude=some(self.bias_magnitude, index),
            weight=np.ascontiguousarray(rows[:, needed]),
        )
        return Part(smaller, index, (needed,))

    def on(self, backend: Backend) -> Self:
        placed = super().on(backend)
        if backend.name != "numpy" or not Entries.pay(placed.weight):
            return placed
        return replace(placed, entries=Entries(placed.weight))

    def _blocks(self, x: Array, matrix: Array) -> Array:
        if self.positions == 1:
            return x @ matrix
        rows, (n, m) = x.shape[0], matrix.shape
        product = x.reshape(rows * self.positions, n) @ matrix
        return product.reshape(rows, self.positions * m)

    def _by_entries(self, x: Array, matrix: Any) -> Array:
        """``matrix @ block`` for each block of each row of x."""
        rows, (m, n) = x.shape[0], matrix.shape
        blocks = np.ascontiguousarray(x.reshape(rows * self.positions, n).T)
        product = np.ascontiguousarray((matrix @ blocks).T)
        return product.reshape(rows, self.positions * m)

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        if self.entries is not None:
            y = self._by_entries(inputs[0], self.entries.forward)
        else:
            y = self._blocks(inputs[0], self.weight.T)
        return y if self.bias is None else y + self.bias

    def adjoint(self, rows: Float[Array, "rows m"]) -> tuple[Float[Array, "rows n"], ...]:
        if self.entries is not None:
            return (self._by_entries(rows, self.entries.backward),)
        return (self._blocks(rows, self.weight),)

    def absolute(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        if self.entries is not None:
            return self._by_entries(inputs[0], self.entries.absolute)
        return self._blocks(inputs[0], abs(self.weight).T)

    def unit_rows(self, index: Int[Array, " rows"]) -> tuple[Float[Array, "rows n"], ...]:
        if self.positions == 1:
            return (self.weight[index],)
        xp = self.xp
        m, n = self.weight.shape
        result = xp.zeros(index.shape[0], self.positions, n)
        result[xp.arange(index.shape[0]), index // m] = self.weight[index % m]
        return (result.reshape(index.shape[0], self.positions * n),)

    def absorb_next(self, following: Affine) -> Affine | None:
        if isinstance(following, Scale):
            return self._scaled(following)
        if isinstance(following, Rearrange):
            return self._selected(following)
        return None

    def absorb_previous(self, preceding: Affine) -> Affine | None:
        if isinstance(preceding, Scale):
            return self._of_scaled(preceding)
        if isinstance(preceding, Rearrange):
            return self._of_selected(preceding)
        return None

    def _scaled(self, following: Scale) -> Linear | None:
        """s (W x + b) + t = (s W) x + (s b + t).

        Each entry of s W carries the roundings of its factors and one more; s b + t those and two
        more, relative to |s||b| + |t|. ``following.terms`` counts a product and a sum beside its
        constants' roundings, so the sum of both ``terms`` plus one covers all.
        """
        factors = _per_block(following.scale, self.positions)
        if following.scale is not None and factors is None:
            return None
        factor = None if following.scale is None else abs(following.scale)
        return replace(
            self,
            terms=self.terms + following.terms + 1,
            weight=self.weight if factors is None else self.weight * factors[:, None],
            bias=plus(times(self.bias, following.scale), following.bias),
            bias_magnitude=plus(times(self.bias_bound(), factor), following.bias_bound()),
        )

    def _selected(self, following: Rearrange) -> Linear | None:
        """Rows picked from W and b (0 and the constant where there is none): exact."""
        if self.positions != 1 or following.size > self.size:
            return None
        kept = following.sources >= 0

        def pick(x: Array | None) -> Array | None:
            return None if x is None else np.where(kept, x[following.index], 0.0)

        return replace(
            self,
            size=following.size,
            terms=self.terms + following.terms,
            weight=np.where(kept[:, None], self.weight[following.index], 0.0),
            bias=plus(pick(self.bias), following.bias),
            bias_magnitude=plus(pick(self.bias_bound()), following.bias_bound()),
        )

    def _of_scaled(self, preceding: Scale) -> Linear | None:
        """W (s x + t) + b = (W s) x + (W t + b).

        W t is summed with as many roundings as W x, which ``terms`` counts; the rest is as in
        ``_scaled``, with |W||t| + |b| for the bias.
        """
        factors = _per_block(preceding.scale, self.positions)
        if preceding.scale is not None and factors is None:
            return None
        return replace(
            self,
            terms=self.terms + preceding.terms + 1,
            weight=self.weight if factors is None else self.weight * factors,
            **self._moved_bias(preceding),
        )

    def _of_selected(self, preceding: Rearrange) -> Linear | None:
        """The columns of W that are kept go to their sources, exactly; constants go into the bias.

        Only where no source is met twice (a sum of columns would carry roundings relative to the
        columns, not to the sum) and where the matrix does not grow.
        """
        if self.positions != 1 or not preceding.plan.unique or preceding.sizes[0] > preceding.size:
            return None
        weight = np.zeros((self.size, preceding.sizes[0]))
        weight[:, preceding.plan.index] = self.weight[:, preceding.positions]
        return replace(
            self,
            sizes=preceding.sizes,
            terms=self.terms + preceding.terms,
            weight=weight,
            **self._moved_bias(preceding),
        )

    def _moved_bias(self, preceding: Affine) -> dict[str, Array | None]:
        """W t + b and |W||t| + |b|, for the bias t of the operator before."""
        shift = bound = None
        size = preceding.bias_bound()
        if preceding.bias is not None and size is not None:
            t = preceding.bias.reshape(self.positions, -1)
            shift = (t @ self.weight.T).reshape(-1)
            bound = (size.reshape(t.shape) @ abs(self.weight).T).reshape(-1)
        return {
            "bias": plus(self.bias, shift),
            "bias_magnitude": plus(self.bias_bound(), bound),
        }


def _per_block(scale: np.ndarray | None, positions: int) -> np.ndarray | None:
    """The one vector that every block is scaled by, or None where they differ."""
    if scale is None:
        return None
    blocks = scale.reshape(positions, -1)
    return blocks[0] if (blocks == blocks[0]).all() else None
