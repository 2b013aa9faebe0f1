"""Elementwise affine maps: y = s x + t."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.families.affine import Affine
from verifier.tensors import Array, Float


@dataclass(frozen=True, eq=False, kw_only=True)
class Scale(Affine):
    """y_i = s_i x_i + t_i; ``scale`` is None for s = 1."""

    scale: Array | None = None

    @staticmethod
    def of(
        size: int,
        scale: np.ndarray | None,
        bias: np.ndarray | None,
        bias_magnitude: np.ndarray | None = None,
    ) -> Scale:
        """From float64 vectors of the given size (each may carry four roundings)."""
        return Scale(
            sizes=(size,), size=size, terms=7, bias=bias, bias_magnitude=bias_magnitude, scale=scale
        )

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        y = inputs[0] if self.scale is None else inputs[0] * self.scale
        return y if self.bias is None else y + self.bias

    def adjoint(self, rows: Float[Array, "rows m"]) -> tuple[Float[Array, "rows n"], ...]:
        return (rows if self.scale is None else rows * self.scale,)

    def absolute(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return inputs[0] if self.scale is None else inputs[0] * abs(self.scale)
