"""Weighted sums of few inputs: reductions and average pooling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.families.affine import Affine
from verifier.families.operator import Part
from verifier.families.rearrange import Rearrange
from verifier.ops.scale import Scale
from verifier.records import dataclass
from verifier.tensors import Array, Float, ScatterPlan, distinct


@dataclass(frozen=True, eq=False, kw_only=True)
class GatherSum(Affine):
    """y_j = weight_j sum_k x[index_jk], over the entries with ``index_jk >= 0``."""

    index: Array
    """[m, k], 0 where not kept."""
    kept: Array
    """[m, k], 1 or 0, in the working precision."""
    weight: Array
    plan: ScatterPlan
    positions: Array

    @staticmethod
    def of(index: np.ndarray, weight: np.ndarray, size_in: int) -> GatherSum:
        """From an index table [m, k] (-1: nothing) and a float64 weight for each output."""
        kept = index >= 0
        flat = index[kept]
        most = int(np.bincount(flat, minlength=1).max(initial=1))
        return GatherSum(
            sizes=(size_in,),
            size=len(index),
            terms=max(index.shape[1], most) + 4,
            index=np.where(kept, index, 0).astype(np.int64),
            kept=kept.astype(np.float64),
            weight=weight,
            plan=ScatterPlan.of(flat, size_in),
            positions=np.nonzero(kept)[0].astype(np.int64),
        )

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return self._sums(inputs[0]) * self.weight

    def adjoint(self, rows: Float[Array, "rows m"]) -> tuple[Float[Array, "rows n"], ...]:
        weighted = self.xp.columns(rows * self.weight, self.positions)
        return (self.xp.scatter_columns(weighted, self.plan),)

    def absolute(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return self._sums(inputs[0]) * abs(self.weight)

    def _sums(self, x: Array) -> Array:
        taken = self.xp.columns(x, self.index.reshape(-1))
        return (taken.reshape(x.shape[0], *self.index.shape) * self.kept).sum(-1)

    def layout(self, *inputs: np.ndarray | None) -> np.ndarray | None:
        return None if inputs[0] is None else inputs[0][self.index[:, 0]]

    def part(self, index: np.ndarray) -> Part | None:
        kept = self.kept[index] > 0
        sources = self.index[index]
        needed = distinct(sources[kept]) if kept.any() else np.zeros(1, dtype=np.int64)
        table = np.where(kept, np.searchsorted(needed, sources), -1)
        smaller = GatherSum.of(table, self.weight[index], len(needed))
        return Part(replace(smaller, terms=self.terms), index, (needed,))

    @property
    def disjoint(self) -> bool:
        return self.plan.unique

    def absorb_next(self, following: Affine) -> Affine | None:
        """A scale without a bias joins the weights; its ``terms`` count the product."""
        if not isinstance(following, Scale) or following.bias is not None:
            return None
        if following.scale is None:
            return None
        weight = self.weight * following.scale
        return replace(self, terms=self.terms + following.terms, weight=weight)

    def absorb_previous(self, preceding: Affine) -> Affine | None:
        """Sums over rearranged inputs are sums over their sources: exact."""
        if not isinstance(preceding, Rearrange):
            return None
        if preceding.bias is not None and preceding.bias.any():
            return None
        index = np.where(self.kept > 0, preceding.sources[self.index], -1)
        merged = GatherSum.of(index, self.weight, preceding.sizes[0])
        return replace(merged, terms=max(merged.terms, self.terms))


def occurrences(target: np.ndarray, cells: int) -> np.ndarray:
    """[cells, most]: the places where a flat ``target`` names each cell; -1: no more."""
    inside = np.flatnonzero(target >= 0)
    order = inside[np.argsort(target[inside], kind="stable")]
    counts = np.bincount(target[inside], minlength=cells)
    rank = np.arange(len(order)) - (np.cumsum(counts) - counts)[target[order]]
    result = np.full((cells, max(int(counts.max(initial=0)), 1)), -1)
    result[target[order], rank] = order
    return result
