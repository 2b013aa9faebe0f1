"""Elementwise affine maps: y = s x + t."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from verifier.families.affine import Affine, plus, some, times
from verifier.families.operator import Part
from verifier.records import dataclass
from verifier.tensors import Array, Float


@dataclass(frozen=True, eq=False, kw_only=True)
class Scale(Affine):
    """y_i = s_i x_i + t_i; ``scale`` is None for s = 1."""

    flushes: ClassVar[tuple[str, ...]] = ("scale", "bias")

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

    def part(self, index: np.ndarray) -> Part | None:
        constants = (self.scale, self.bias, self.bias_magnitude)
        smaller = Scale.of(len(index), *(some(x, index) for x in constants))
        return Part(replace(smaller, terms=self.terms), index, (index,))

    @property
    def disjoint(self) -> bool:
        return True

    @property
    def is_identity(self) -> bool:
        """Exactly: a computed bias of 0, or scale of 1, may stand for a number close to it."""
        no_bias = self.bias is None or (self.bias_magnitude is None and not self.bias.any())
        return self.scale is None and no_bias

    def absorb_next(self, following: Affine) -> Affine | None:
        """s2 (s1 x + b1) + b2 = (s1 s2) x + (s2 b1 + b2).

        The product and the sum each cost a rounding, relative to |s1 s2| and to |s2 b1| + |b2|, on
        top of those that both operators' ``terms`` count.
        """
        if not isinstance(following, Scale):
            return None
        factor = None if following.scale is None else abs(following.scale)
        return replace(
            self,
            terms=self.terms + following.terms + 1,
            scale=following.scale if self.scale is None else times(self.scale, following.scale),
            bias=plus(times(self.bias, following.scale), following.bias),
            bias_magnitude=plus(times(self.bias_bound(), factor), following.bias_bound()),
        )
