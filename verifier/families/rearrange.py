"""Data movement: every output is one input, or a constant."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from verifier.families.affine import Affine, some
from verifier.families.operator import Part
from verifier.records import dataclass
from verifier.tensors import Array, Float, Int, ScatterPlan, distinct


@dataclass(frozen=True, eq=False, kw_only=True)
class Rearrange(Affine):
    """y_j = x[index_j] where ``index_j >= 0``, else ``bias_j``.

    Slice, Transpose, Gather, Expand, Split, Pad and the embedding of the free inputs among fixed
    ones are all this: the index table is found by applying the ONNX operator to the numbers 0..n-1.
    """

    flushes: ClassVar[tuple[str, ...]] = ("bias",)

    index: Array
    """The source of each output; 0 where ``kept`` is false."""
    kept: Array | None
    """Which outputs come from an input; None: all."""
    plan: ScatterPlan
    """Where the kept outputs go in the adjoint."""
    positions: Array
    """The indices of the kept outputs."""

    @staticmethod
    def of(index: np.ndarray, size_in: int, fill: np.ndarray | None = None) -> Rearrange:
        """From a flat index table (-1: the constant of ``fill`` there)."""
        index = index.astype(np.int64)
        kept = index >= 0
        return Rearrange(
            sizes=(size_in,),
            size=len(index),
            terms=int(np.bincount(index[kept], minlength=1).max(initial=1)) + 1,
            bias=None if kept.all() or fill is None else np.where(kept, 0.0, fill),
            index=np.where(kept, index, 0),
            kept=None if kept.all() else kept,
            plan=ScatterPlan.of(index[kept], size_in),
            positions=np.nonzero(kept)[0],
        )

    def _gather(self, x: Array) -> Array:
        y = self.xp.columns(x, self.index)
        return y if self.kept is None else self.xp.where(self.kept, y, self.xp.zeros(1))

    @property
    def keeps_integers(self) -> bool:
        return self.bias is None

    @property
    def takes_bias(self) -> bool:
        return False  # it has one only where it takes no input

    @property
    def moves(self) -> bool:
        return self.bias is None

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        y = self._gather(inputs[0])
        return y if self.bias is None else y + self.bias

    def adjoint(self, rows: Float[Array, "rows m"]) -> tuple[Float[Array, "rows n"], ...]:
        kept = rows if self.kept is None else self.xp.columns(rows, self.positions)
        return (self.xp.scatter_columns(kept, self.plan),)

    def absolute(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return self._gather(inputs[0])

    @property
    def disjoint(self) -> bool:
        return self.plan.unique

    def picks(self, index: Int[Array, " rows"]) -> tuple[tuple[Array, float], ...] | None:
        if self.bias is not None or self.kept is not None:
            return None
        return ((self.index[index], 1.0),)

    @property
    def is_identity(self) -> bool:
        return (
            self.kept is None
            and self.sizes == (self.size,)
            and np.array_equal(self.index, np.arange(self.size))
        )

    @property
    def sources(self) -> np.ndarray:
        """The index table with -1 for constants, as given to ``of`` (on no backend)."""
        return self.index if self.kept is None else np.where(self.kept, self.index, -1)

    def layout(self, *inputs: np.ndarray | None) -> np.ndarray | None:
        return None if inputs[0] is None else inputs[0][self.index]

    def part(self, index: np.ndarray) -> Part | None:
        sources = self.sources[index]
        kept = sources >= 0
        needed = distinct(sources[kept]) if kept.any() else np.zeros(1, dtype=np.int64)
        table = np.where(kept, np.searchsorted(needed, sources), -1)
        smaller = Rearrange.of(table, len(needed), some(self.bias, index))
        magnitude = some(self.bias_magnitude, index)
        smaller = replace(smaller, terms=self.terms, bias_magnitude=magnitude)
        return Part(smaller, index, (needed,))

    def absorb_next(self, following: Affine) -> Affine | None:
        """Rearranged twice is rearranged; constants keep their roundings: ``terms`` add up."""
        if not isinstance(following, Rearrange):
            return None
        outer, inner = following.sources, self.sources
        index = np.where(outer >= 0, inner[following.index], -1)
        fill = np.zeros(following.size)
        if self.bias is not None:
            fill = np.where(outer >= 0, self.bias[following.index], fill)
        if following.bias is not None:
            fill = np.where(outer >= 0, fill, following.bias)
        merged = Rearrange.of(index, self.sizes[0], fill)
        return replace(merged, terms=max(merged.terms, self.terms + following.terms))

    def absorb_previous(self, preceding: Affine) -> Affine | None:
        return preceding.absorb_next(self) if isinstance(preceding, Rearrange) else None
