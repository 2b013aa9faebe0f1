"""Dense matrices: Gemm, and MatMul with a constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.families.affine import Affine
from verifier.tensors import Array, Float, Int


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Affine):
    """y = W x + b, applied to each of ``positions`` consecutive blocks of the input.

    ``weight`` is ``[m, n]``; the input is ``[positions n]`` and the output ``[positions m]``, flat.
    The bias is a flat vector over the output.
    """

    weight: Array
    positions: int = 1

    @staticmethod
    def of(
        weight: np.ndarray, bias: np.ndarray | None = None, positions: int = 1, extra_terms: int = 0
    ) -> Linear:
        """From a float64 matrix [m, n] and a bias over the whole output."""
        m, n = weight.shape
        return Linear(
            sizes=(positions * n,),
            size=positions * m,
            terms=max(m, n) + 3 + extra_terms,
            bias=bias,
            weight=np.ascontiguousarray(weight),
            positions=positions,
        )

    def _blocks(self, x: Array, matrix: Array) -> Array:
        if self.positions == 1:
            return x @ matrix
        rows = x.shape[0]
        return (x.reshape(rows * self.positions, matrix.shape[0]) @ matrix).reshape(rows, -1)

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        y = self._blocks(inputs[0], self.weight.T)
        return y if self.bias is None else y + self.bias

    def adjoint(self, rows: Float[Array, "rows m"]) -> tuple[Float[Array, "rows n"], ...]:
        return (self._blocks(rows, self.weight),)

    def absolute(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return self._blocks(inputs[0], abs(self.weight).T)

    def unit_rows(self, index: Int[Array, " rows"]) -> tuple[Float[Array, "rows n"], ...]:
        if self.positions == 1:
            return (self.weight[index],)
        xp = self.xp
        m, n = self.weight.shape
        result = xp.zeros(index.shape[0], self.positions, n)
        result[xp.arange(index.shape[0]), index // m] = self.weight[index % m]
        return (result.reshape(index.shape[0], -1),)
